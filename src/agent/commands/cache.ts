import type { CachedImage } from '../cached-image.ts'
import type { Command } from '../cli.ts'
import { callAgent } from '../control-client.ts'
import { UsageError } from '../errors.ts'
import type { EvictResult } from '../operations.ts'
import { formatBytes, formatRecords } from './format.ts'

/** `blobswarm cache`: shows the images that the agent has in its cache, or drops some of them. */
export const cacheCommand: Command = {
  arguments: [0, 2],
  async run({ positionals, socket, isJson, signal, print }) {
    const [action, ref] = positionals
    if (action === undefined) {
      const images = (await callAgent(socket, 'GET', 'cache', { signal })) as CachedImage[]
      print(isJson ? JSON.stringify(images) : formatRecords(images.map(rowOf)))
      return
    }
    if (action !== 'evict' || ref === undefined) {
      throw new UsageError('usage: blobswarm cache [evict REF]')
    }
    const result = await callAgent(socket, 'POST', 'evict', { query: { ref }, signal })
    const { freedBytes } = result as EvictResult
    print(isJson ? JSON.stringify(result) : `${ref}: ${formatBytes(freedBytes)} freed`)
  }
}

function rowOf({ names, bytes, dataBytes, heldBytes, isInUse, used }: CachedImage) {
  const held = `${formatBytes(heldBytes)} of ${formatBytes(dataBytes)}`
  const image = names.map(({ path, version }) => `${path}@${version}`).join(' ')
  return { image, bytes, held, used, use: isInUse ? 'in use' : '' }
}
