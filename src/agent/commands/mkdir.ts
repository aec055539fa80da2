import type { Command } from '../cli.ts'
import { callAgent } from '../control-client.ts'

/** `blobswarm mkdir`: makes a folder and what is missing above it. */
export const mkdirCommand: Command = {
  arguments: [1, 1],
  async run({ positionals, socket, isJson, signal, print }) {
    const query = { path: positionals[0] }
    await callAgent(socket, 'POST', 'mkdir', { query, signal })
    if (isJson) print(JSON.stringify({ made: positionals[0] }))
  }
}
