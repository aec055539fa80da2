import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { errorCode } from '../../lib/errors.ts'
import { toError } from '../../lib/to-error.ts'
import type { Command } from '../cli.ts'
import { callAgent } from '../control-client.ts'
import { LocalFileError } from '../errors.ts'
import type { PushResult } from '../operations.ts'
import { wholeNumber } from './arguments.ts'
import { formatBytes, formatRate } from './format.ts'
import { ProgressView } from './progress.ts'

const READ_BYTES = 1024 * 1024

/** `blobswarm push`: stores a file as the next version of a path. */
export const pushCommand: Command = {
  arguments: [2, 2],
  options: { note: { type: 'string' }, 'if-newest': { type: 'string' } },
  async run({ positionals, values, socket, isJson, signal, print }) {
    const [file = '', path = ''] = positionals
    const ifNewest = wholeNumber('--if-newest', values['if-newest'], 'a version number')
    const bytes = file === '-' ? undefined : await sizeOf(file)
    const view = new ProgressView(path, values.progress)
    const source =
      file === '-' ? process.stdin : createReadStream(file, { highWaterMark: READ_BYTES })
    const body = counted(readable(file, source), (sentBytes) =>
      view.show({ phase: 'transfer', doneBytes: sentBytes, totalBytes: bytes ?? sentBytes })
    )
    const note = typeof values.note === 'string' ? values.note : undefined
    const result = (await callAgent(socket, 'PUT', 'push', {
      query: { path, bytes, note, ifNewest },
      body: Readable.from(body, { objectMode: false }),
      signal
    }).finally(() => view.finish())) as PushResult
    if (isJson) print(JSON.stringify(result))
    else {
      print(
        `${result.path}@${result.version}  ${formatBytes(result.bytes)}  ` +
          `stored ${formatBytes(result.storedBytes)}, known ${formatBytes(result.reusedBytes)}, ` +
          `zero ${formatBytes(result.zeroBytes)}  ${formatRate(result.bytes, result.seconds)}`
      )
    }
  }
}

async function* readable(
  file: string,
  source: AsyncIterable<Uint8Array>
): AsyncGenerator<Uint8Array> {
  try {
    yield* source
  } catch (error) {
    throw new LocalFileError(file, toError(error).message, { cause: error })
  }
}

async function* counted(
  source: AsyncIterable<Uint8Array>,
  onSent: (bytes: number) => void
): AsyncGenerator<Uint8Array> {
  let bytes = 0
  for await (const part of source) {
    yield part
    bytes += part.byteLength
    onSent(bytes)
  }
}

async function sizeOf(file: string): Promise<number> {
  try {
    const found = await stat(file)
    if (found.isFile()) return found.size
  } catch (error) {
    const reason = errorCode(error) === 'ENOENT' ? 'no such file' : toError(error).message
    throw new LocalFileError(file, reason, { cause: error })
  }
  throw new LocalFileError(file, 'is not a regular file')
}
