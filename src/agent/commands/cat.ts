import { pipeline } from 'node:stream/promises'
import { errorCode } from '../../lib/errors.ts'
import type { Command, CommandContext } from '../cli.ts'
import { openCall, partsOf } from '../control-client.ts'
import { UsageError } from '../errors.ts'

/** `blobswarm cat`: writes bytes of an image to standard output. */
export const catCommand: Command = {
  arguments: [1, 1],
  options: { offset: { type: 'string' }, length: { type: 'string' } },
  async run({ positionals, values, socket, signal }) {
    const query = {
      ref: positionals[0],
      offset: wholeNumber('--offset', values.offset),
      length: wholeNumber('--length', values.length)
    }
    const response = await openCall(socket, 'GET', 'cat', { query, signal })
    try {
      await pipeline(partsOf(response, socket, signal), process.stdout, { signal, end: false })
    } catch (error) {
      if (errorCode(error) !== 'EPIPE') throw error // `cat … | head` is fine
    }
  }
}

function wholeNumber(option: string, value: CommandContext['values'][string]): number | undefined {
  if (value === undefined) return undefined
  const number = Number(value)
  if (/^\d+$/.test(String(value)) && Number.isSafeInteger(number)) return number
  throw new UsageError(`${option} ${value.toString()}: wanted a whole number of bytes`)
}
