import type { SwarmDescription } from '../../peer/swarm/description.ts'
import type { Command } from '../cli.ts'
import { callAgent } from '../control-client.ts'
import { swarmLines } from './swarm-text.ts'

/** `blobswarm swarm`: explains the exchange of an image. */
export const swarmCommand: Command = {
  arguments: [1, 1],
  async run({ positionals, socket, isJson, signal, print }) {
    const [ref = ''] = positionals
    const found = await callAgent(socket, 'GET', 'swarm', { query: { ref }, signal })
    if (isJson) print(JSON.stringify(found))
    else for (const line of swarmLines(ref, found as SwarmAnswer)) print(line)
  }
}

/** What the agent answers; of an image in which it takes no part only the name is known. */
export type SwarmAnswer = SwarmDescription | { readonly image: string; readonly role: 'absent' }
