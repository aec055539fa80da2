import type { Command } from '../cli.ts'
import { callAgent } from '../control-client.ts'

/** `blobswarm mv`: renames an image or folder. */
export const mvCommand: Command = {
  arguments: [2, 2],
  async run({ positionals, socket, isJson, signal, print }) {
    const [from, to] = positionals
    await callAgent(socket, 'POST', 'mv', { query: { from, to }, signal })
    if (isJson) print(JSON.stringify({ from, to }))
  }
}
