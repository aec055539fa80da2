import type { Command } from '../cli.ts'
import { callAgent } from '../control-client.ts'

/** `blobswarm status`: shows what the agent is and does. */
export const statusCommand: Command = {
  arguments: [0, 0],
  async run({ socket, isJson, signal, print }) {
    const status = (await callAgent(socket, 'GET', 'status', { signal })) as object
    if (isJson) print(JSON.stringify(status))
    else {
      for (const [name, value] of Object.entries(status)) {
        const text = typeof value === 'object' ? JSON.stringify(value) : String(value)
        print(`${name.padEnd(16)} ${text}`)
      }
    }
  }
}
