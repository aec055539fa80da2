import type { Command } from '../cli.ts'
import { callAgent } from '../control-client.ts'
import type { StatResult } from '../operations.ts'
import { formatTime } from './format.ts'

/** `blobswarm stat`: shows size, version and ids of an image. */
export const statCommand: Command = {
  arguments: [1, 1],
  options: { sha256: { type: 'boolean' } },
  async run({ positionals, values, socket, isJson, signal, print }) {
    const query = { ref: positionals[0], sha256: values.sha256 === true ? true : undefined }
    const result = (await callAgent(socket, 'GET', 'stat', { query, signal })) as StatResult
    const { modifiedMs, ...rest } = result
    if (isJson) print(JSON.stringify({ ...rest, time: new Date(modifiedMs).toISOString() }))
    else {
      const fields = { ...rest, modified: formatTime(modifiedMs) }
      print(
        Object.entries(fields)
          .map(([name, value]) => `${name.padEnd(13)} ${value}`)
          .join('\n')
      )
    }
  }
}
