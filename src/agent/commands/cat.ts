import { pipeline } from 'node:stream/promises'
import type { Command, CommandContext } from '../cli.ts'
import { openCall } from '../control-client.ts'
import { UsageError } from '../errors.ts'

export const catCommand: Command = {
  arguments: [1, 1],
  options: { offset: { type: 'string' }, length: { type: 'string' } },
  async run({ positionals, values, socket, signal }) {
    const query = {
      ref: positionals[0],
      offset: wholeNumber('--offset', values.offset),
      length: wholeNumber('--length', values.length)
    }
    const body = await openCall(socket, 'GET', 'cat', { query, signal })
    try {
      await pipeline(body, process.stdout, { signal, end: false })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error // `cat … | head` is fine
    }
  }
}

function wholeNumber(option: string, value: CommandContext['values'][string]): number | undefined {
  if (value === undefined) return undefined
  const number = Number(value)
  if (Number.isSafeInteger(number) && number >= 0 && value !== '') return number
  throw new UsageError(`${option} ${value.toString()}: wanted a whole number of bytes`)
}
