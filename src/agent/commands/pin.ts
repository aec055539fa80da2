import type { Command } from '../cli.ts'
import { callAgent } from '../control-client.ts'

/** `blobswarm pin`: keeps a version whatever the policy says. */
export const pinCommand = pinning('pin')

/** `blobswarm unpin`: lets the policy decide again. */
export const unpinCommand = pinning('unpin')

function pinning(name: 'pin' | 'unpin'): Command {
  return {
    arguments: [1, 1],
    async run({ positionals, socket, isJson, signal, print }) {
      const query = { ref: positionals[0] }
      const result = await callAgent(socket, 'POST', name, { query, signal })
      if (isJson) print(JSON.stringify(result))
    }
  }
}
