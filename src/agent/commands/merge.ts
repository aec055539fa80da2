import type { Command } from '../cli.ts'
import { callAgent } from '../control-client.ts'
import type { ImageVersion } from '../operations.ts'
import { byteSize, wholeNumber } from './arguments.ts'
import { formatBytes } from './format.ts'

/** `blobswarm merge`: makes a version in which a range reads as in another image. */
export const mergeCommand: Command = {
  arguments: [2, 2],
  options: {
    offset: { type: 'string' },
    length: { type: 'string' },
    at: { type: 'string' },
    note: { type: 'string' },
    'if-newest': { type: 'string' }
  },
  async run({ positionals, values, socket, isJson, signal, print }) {
    const [ref, path] = positionals
    const query = {
      ref,
      path,
      offset: byteSize('--offset', values.offset),
      length: byteSize('--length', values.length),
      at: byteSize('--at', values.at),
      note: typeof values.note === 'string' ? values.note : undefined,
      ifNewest: wholeNumber('--if-newest', values['if-newest'], 'a version number')
    }
    const made = (await callAgent(socket, 'POST', 'merge', { query, signal })) as ImageVersion
    if (isJson) print(JSON.stringify(made))
    else print(`${made.path}@${made.version}  ${formatBytes(made.bytes)}  with bytes of ${ref}`)
  }
}
