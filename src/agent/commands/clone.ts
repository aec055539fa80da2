import type { Command } from '../cli.ts'
import { callAgent } from '../control-client.ts'
import type { ImageVersion } from '../operations.ts'
import { formatBytes } from './format.ts'

/** `blobswarm clone`: makes an image that begins as a version of another. */
export const cloneCommand: Command = {
  arguments: [2, 2],
  async run({ positionals, socket, isJson, signal, print }) {
    const [ref, path] = positionals
    const query = { ref, path }
    const made = (await callAgent(socket, 'POST', 'clone', { query, signal })) as ImageVersion
    if (isJson) print(JSON.stringify(made))
    else print(`${made.path}@${made.version}  ${formatBytes(made.bytes)}  clone of ${ref}`)
  }
}
