import type { Command } from '../cli.ts'
import { callAgent } from '../control-client.ts'

/** `blobswarm rm`: removes an image, an empty folder or one version. */
export const rmCommand: Command = {
  arguments: [1, 1],
  async run({ positionals, socket, isJson, signal, print }) {
    const query = { ref: positionals[0] }
    await callAgent(socket, 'POST', 'rm', { query, signal })
    if (isJson) print(JSON.stringify({ removed: positionals[0] }))
  }
}
