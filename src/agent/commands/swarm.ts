import type { Command } from '../cli.ts'
import { callAgent } from '../control-client.ts'
import { formatRecords } from './format.ts'

/** `blobswarm swarm`: shows the exchange of an image. */
export const swarmCommand: Command = {
  arguments: [1, 1],
  async run({ positionals, socket, isJson, signal, print }) {
    const query = { ref: positionals[0] }
    const { neighbours, ...rest } = (await callAgent(socket, 'GET', 'swarm', {
      query,
      signal
    })) as { neighbours?: Record<string, unknown>[] }
    if (isJson) print(JSON.stringify({ ...rest, neighbours }))
    else {
      print(formatRecords([rest]))
      print(formatRecords(neighbours ?? []))
    }
  }
}
