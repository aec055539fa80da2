import type { Command } from '../cli.ts'
import { callAgent } from '../control-client.ts'
import { formatRecords } from './format.ts'

/** `blobswarm providers`: shows the storage providers. */
export const providersCommand: Command = {
  arguments: [0, 0],
  async run({ socket, isJson, signal, print }) {
    const found = (await callAgent(socket, 'GET', 'providers', { signal })) as Record<
      string,
      unknown
    >[]
    print(isJson ? JSON.stringify(found) : formatRecords(found))
  }
}
