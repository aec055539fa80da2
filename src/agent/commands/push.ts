import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { PassThrough, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Command } from '../cli.ts'
import { callAgent } from '../control-client.ts'
import { LocalFileError } from '../errors.ts'
import type { PushResult } from '../operations.ts'
import { formatBytes, formatRate } from './format.ts'
import { ProgressView } from './progress.ts'

const READ_BYTES = 1024 * 1024

export const pushCommand: Command = {
  arguments: [2, 2],
  options: { note: { type: 'string' } },
  async run({ positionals, values, socket, isJson, signal, print }) {
    const [file = '', path = ''] = positionals
    const bytes = file === '-' ? undefined : await sizeOf(file)
    const view = new ProgressView(path, values.progress)
    let sentBytes = 0
    const counting = new Transform({
      transform(part: Uint8Array, _encoding, done) {
        sentBytes += part.byteLength
        view.show({ phase: 'transfer', doneBytes: sentBytes, totalBytes: bytes ?? sentBytes })
        done(null, part)
      }
    })
    const source =
      file === '-' ? process.stdin : createReadStream(file, { highWaterMark: READ_BYTES })
    const body = new PassThrough()
    const sending = pipeline(source, counting, body, { signal })
    sending.catch(() => {}) // the call below fails with the reason
    const note = typeof values.note === 'string' ? values.note : undefined
    const result = (await callAgent(socket, 'PUT', 'push', {
      query: { path, bytes, note },
      body,
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

async function sizeOf(file: string): Promise<number> {
  try {
    const found = await stat(file)
    if (found.isFile()) return found.size
  } catch (error) {
    throw new LocalFileError(file, 'cannot be read', { cause: error })
  }
  throw new LocalFileError(file, 'is not a regular file')
}
