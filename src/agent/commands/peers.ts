import type { Command } from '../cli.ts'
import { callAgent } from '../control-client.ts'
import { formatRecords } from './format.ts'

/** `blobswarm peers`: shows the agents that this one is connected to. */
export const peersCommand: Command = {
  arguments: [0, 0],
  async run({ socket, isJson, signal, print }) {
    const found = (await callAgent(socket, 'GET', 'peers', { signal })) as Record<string, unknown>[]
    print(isJson ? JSON.stringify(found) : formatRecords(found))
  }
}
