import { pipeline } from 'node:stream/promises'
import { errorCode } from '../../lib/errors.ts'
import type { Command } from '../cli.ts'
import { openCall, partsOf } from '../control-client.ts'
import { wholeNumber } from './arguments.ts'

const WANTED = 'a whole number of bytes'

/** `blobswarm cat`: writes bytes of an image to standard output. */
export const catCommand: Command = {
  arguments: [1, 1],
  options: { offset: { type: 'string' }, length: { type: 'string' } },
  async run({ positionals, values, socket, signal }) {
    const query = {
      ref: positionals[0],
      offset: wholeNumber('--offset', values.offset, WANTED),
      length: wholeNumber('--length', values.length, WANTED)
    }
    const response = await openCall(socket, 'GET', 'cat', { query, signal })
    try {
      await pipeline(partsOf(response, socket, signal), process.stdout, { signal, end: false })
    } catch (error) {
      if (errorCode(error) !== 'EPIPE') throw error // `cat … | head` is fine
    }
  }
}
