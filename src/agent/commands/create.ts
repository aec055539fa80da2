import type { Command } from '../cli.ts'
import { callAgent } from '../control-client.ts'
import { UsageError } from '../errors.ts'
import type { ImageVersion } from '../operations.ts'
import { byteSize } from './arguments.ts'
import { formatBytes } from './format.ts'

/** `blobswarm create`: makes an image of zeros. */
export const createCommand: Command = {
  arguments: [1, 1],
  options: {
    size: { type: 'string' },
    'chunk-size': { type: 'string' },
    note: { type: 'string' }
  },
  async run({ positionals, values, socket, isJson, signal, print }) {
    const bytes = byteSize('--size', values.size)
    if (bytes === undefined) throw new UsageError('create: --size is missing')
    const note = typeof values.note === 'string' ? values.note : undefined
    const chunkBytes = byteSize('--chunk-size', values['chunk-size'])
    const query = { path: positionals[0], bytes, chunkBytes, note }
    const made = (await callAgent(socket, 'POST', 'create', { query, signal })) as ImageVersion
    if (isJson) print(JSON.stringify(made))
    else print(`${made.path}@${made.version}  ${formatBytes(made.bytes)}`)
  }
}
