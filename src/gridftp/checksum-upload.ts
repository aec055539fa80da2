import type { Range } from '../lib/range-set.ts'
import type { RunningSum } from './checksum-threads.ts'
import type { OpenWriteOptions, Published, PublishOptions, WriteHandle } from './dsi.ts'
import { ChecksumMismatchError, ChecksumUnknownError, CommandRefusedError } from './errors.ts'
import type { CommandContext, ExpectedChecksum, SessionState } from './types.ts'

/**
 * An upload whose sum its client announced (SCKS): it is published only if the sum is right. Bytes are
 * added as they arrive as long as they come in order; the rest is read back from the storage.
 */
export class ChecksummedUpload implements WriteHandle {
  readonly checkpoint?: () => Promise<Iterable<Range>>
  readonly suspend?: () => Promise<void>
  readonly failed: AbortSignal | undefined
  readonly #handle: WriteHandle
  readonly #expected: ExpectedChecksum
  readonly #begin: () => Promise<RunningSum>
  #sum: RunningSum | undefined
  /** Up to here the sum covers what was written. */
  #summedBytes = 0
  /** Something was written over what the sum covers: it has to begin anew. */
  #isSpoilt = false
  #hasFailed = false
  #endBytes = 0
  #turn: Promise<unknown> = Promise.resolve()

  private constructor(
    handle: WriteHandle,
    expected: ExpectedChecksum,
    begin: () => Promise<RunningSum>
  ) {
    this.#handle = handle
    this.#expected = expected
    this.#begin = begin
    this.failed = handle.failed
    if (handle.checkpoint !== undefined) {
      this.checkpoint = async () => (await handle.checkpoint?.()) ?? []
    }
    if (handle.suspend !== undefined) this.suspend = async () => await this.#suspend()
  }

  /**
   * Puts the check before publishing where a sum was announced.
   *
   * @param arrived what is there already from an earlier attempt.
   */
  static guard(
    handle: WriteHandle,
    context: Pick<CommandContext, 'services' | 'state'>,
    arrived: readonly Range[] = []
  ): WriteHandle {
    const { announcedBytes, expectedChecksum: expected } = context.state
    if (expected === undefined) return handle
    const { checksums } = context.services
    const begin = async (): Promise<RunningSum> =>
      await checksums.begin(expected.algorithm, announcedBytes)
    const upload = new ChecksummedUpload(handle, expected, begin)
    if (arrived.length > 0) upload.#isSpoilt = true
    return upload
  }

  async write(
    offset: number,
    bytes: Uint8Array,
    options: { signal?: AbortSignal | undefined } = {}
  ): Promise<void> {
    const end = offset + bytes.byteLength
    this.#endBytes = Math.max(this.#endBytes, end)
    if (offset < this.#summedBytes) this.#isSpoilt = true
    else if (offset === this.#summedBytes && !this.#isSpoilt) {
      this.#summedBytes = end
      this.#turn = this.#turn.then(async () => await this.#add(bytes))
      await this.#turn // before the storage takes the array
    }
    await this.#handle.write(offset, bytes, options)
  }

  /** @throws {ChecksumMismatchError | ChecksumUnknownError} and nothing is published. */
  async publish(options: PublishOptions = {}): Promise<Published> {
    const { algorithm, sum: expected } = this.#expected
    this.#hasFailed = true
    const actual = await this.#complete(options.signal)
    if (actual !== expected) throw new ChecksumMismatchError(algorithm, expected, actual)
    this.#hasFailed = false
    return await this.#handle.publish(options)
  }

  async abort(): Promise<void> {
    this.#sum?.drop()
    await this.#handle.abort()
  }

  /** What is wrong need not be continued. */
  async #suspend(): Promise<void> {
    this.#sum?.drop()
    await (this.#hasFailed ? this.#handle.abort() : this.#handle.suspend?.())
  }

  /** Adds what did not come in order, and gives the sum. */
  async #complete(signal: AbortSignal | undefined): Promise<string> {
    await this.#turn
    if (!this.#isSpoilt && this.#summedBytes === this.#endBytes) {
      this.#sum ??= await this.#begin()
      return await this.#sum.end()
    }
    if (this.#handle.readBack === undefined)
      throw new ChecksumUnknownError(this.#expected.algorithm)
    if (this.#isSpoilt) {
      this.#sum?.drop()
      this.#sum = undefined
      this.#summedBytes = 0
    }
    this.#sum ??= await this.#begin()
    for await (const piece of this.#handle.readBack(this.#summedBytes, { signal })) {
      signal?.throwIfAborted()
      await this.#sum.update(piece)
    }
    return await this.#sum.end()
  }

  async #add(bytes: Uint8Array): Promise<void> {
    this.#sum ??= await this.#begin()
    await this.#sum.update(bytes)
  }
}

/** @throws {CommandRefusedError} if SCKS announced the sum of an upload that is no whole file. */
export function verifyChecksumFits(
  { expectedChecksum }: Pick<SessionState, 'expectedChecksum'>,
  mode: OpenWriteOptions['mode']
): void {
  if (expectedChecksum === undefined || mode === 'replace') return
  throw new CommandRefusedError(504, 'SCKS is for STOR of a whole file only.')
}
