import type { AbortOptions } from '../lib/abort-options.ts'
import type { Clock } from '../lib/clock.ts'
import type { Repository } from '../metadata/repository.ts'
import { BadRequestError } from './errors.ts'
import type { PushRequest, PushResult } from './operations.ts'

/**
 * Stores a body as the next version of a path; unless it comes whole, nothing is published.
 *
 * @throws {BadRequestError} if it is longer or shorter than announced.
 */
export async function pushBody(
  { repository, clock }: { readonly repository: Repository; readonly clock: Clock },
  request: PushRequest,
  body: AsyncIterable<Uint8Array>,
  options: AbortOptions
): Promise<PushResult> {
  const { path, bytes: expectedBytes, note, ifNewest } = request
  const startedMs = clock.monotonic()
  const upload = { mode: 'replace', expectedBytes, note, ifNewest, ...options } as const
  const writer = await repository.openWrite(path, upload)
  try {
    let offset = 0
    for await (const part of body) {
      await writer.write(offset, part, options)
      offset += part.byteLength
    }
    if (expectedBytes !== undefined && offset !== expectedBytes) {
      throw new BadRequestError(`${path}: ${offset} bytes came, ${expectedBytes} were announced`)
    }
    const { version, bytes } = await writer.publish({
      ...options,
      isStillWanted: () => options.signal?.aborted !== true
    })
    const { receivedBytes, ...progress } = writer.progress
    const seconds = (clock.monotonic() - startedMs) / 1000
    return {
      path,
      version,
      bytes: Math.max(bytes, receivedBytes),
      ...progress,
      seconds
    }
  } finally {
    await writer.abort()
  }
}
