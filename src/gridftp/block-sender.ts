import { KIB } from '../lib/bytes.ts'
import type { DataSocket } from './data-socket.ts'
import type { ReadHandle } from './dsi.ts'
import { StorageTruncatedError } from './errors.ts'
import { encodeModeEHeader, MODE_E_CLOSE, MODE_E_EOD, MODE_E_EOF } from './mode-e-header.ts'

/** Payload of one extended block that we send, in bytes. */
export const SENT_BLOCK_BYTES = 256 * KIB

/** One block on its way out. */
export interface OutgoingBlock {
  readonly offset: number
  readonly parts: readonly Uint8Array[]
  /** Told when the parts have been sent and nobody looks at them any more. */
  readonly onSent?: () => void
}

/** Gives blocks to whoever asks next; several may ask at the same time. */
export interface BlockSource {
  /** The next block, or undefined at the end. */
  next(): Promise<OutgoingBlock | undefined>
  /** Gives up what is held for blocks that nobody will ask for. */
  close?(): Promise<void>
}

/** How a file is sent, and how it ends. */
export interface SendBlocksOptions {
  readonly signal: AbortSignal
  readonly onBytes: (bytes: number) => void
  /**
   * EODs that the EOF announces, where others send to the same receiver too; 0 if one of them sends
   * the EOF. @default as many as there are connections
   */
  readonly eodCount?: number
  /** The last header of each connection says that it will be closed; the caller does. @default false */
  readonly closes?: boolean
}

/**
 * Sends blocks over several connections, each to the one that is free next, then an EOD on every
 * connection and the EOF on the first. The connections stay open.
 *
 * @throws {DataChannelError} if a connection breaks; what the source throws; `signal.reason` if
 * aborted.
 */
export async function sendBlocks(
  sockets: readonly DataSocket[],
  source: BlockSource,
  options: SendBlocksOptions
): Promise<void> {
  const { signal, eodCount = sockets.length, closes = false } = options
  const failed = new AbortController()
  const either = AbortSignal.any([signal, failed.signal])
  const sending = sockets.map(async (socket) => {
    try {
      await sendOn(socket, source, { ...options, signal: either })
    } catch (error) {
      failed.abort(error) // the others need not go on
      throw error
    }
  })
  await Promise.allSettled(sending)
  await source.close?.()
  signal.throwIfAborted()
  failed.signal.throwIfAborted() // the first failure, not what it did to the others
  await Promise.all(
    sockets.map(async (socket, index) => {
      const isEof = index === 0 && eodCount > 0
      const flags = MODE_E_EOD + (isEof ? MODE_E_EOF : 0) + (closes ? MODE_E_CLOSE : 0)
      const offset = isEof ? eodCount : 0
      await socket.write([encodeModeEHeader({ flags, count: 0, offset })], signal)
      await socket.flush(signal)
    })
  )
}

async function sendOn(
  socket: DataSocket,
  source: BlockSource,
  options: { readonly signal: AbortSignal; readonly onBytes: (bytes: number) => void }
): Promise<void> {
  let coming = source.next()
  for (;;) {
    const block = await coming
    if (block === undefined) return
    coming = source.next() // read the next one while this one goes out
    coming.catch(() => {}) // rejects again when it is awaited
    const count = block.parts.reduce((sum, { byteLength }) => sum + byteLength, 0)
    const header = encodeModeEHeader({ flags: 0, count, offset: block.offset })
    await socket.write([header, ...block.parts], options.signal, block.onSent)
    options.onBytes(count)
  }
}

/** Which range of a file is sent, and how it is numbered. */
export interface FileBlocksOptions {
  readonly offset: number
  readonly length: number
  /** Subtracted from the offsets on the wire: partial transfers count from 0. */
  readonly base: number
  readonly signal: AbortSignal
}

/** Cuts a range of a file into blocks; the storage is asked for several at the same time. */
export class FileBlocks implements BlockSource {
  readonly #handle: ReadHandle
  readonly #options: FileBlocksOptions
  #at: number

  constructor(handle: ReadHandle, options: FileBlocksOptions) {
    this.#handle = handle
    this.#options = options
    this.#at = options.offset
  }

  async next(): Promise<OutgoingBlock | undefined> {
    const { offset: start, length: total, base, signal } = this.#options
    const offset = this.#at
    const length = Math.min(SENT_BLOCK_BYTES, start + total - offset)
    if (length <= 0) return undefined
    this.#at += length
    const parts: Uint8Array[] = []
    const pieces = this.#handle.read({ offset, length }, { signal })
    for await (const part of exactly(pieces, length)) parts.push(part)
    const onSent = (): void => {
      for (const part of parts) this.#handle.giveBack?.(part)
    }
    return { offset: offset - base, parts, onSent }
  }
}

/** Numbers pieces of unknown total length, such as a listing, one after the other. */
export class SequentialBlocks implements BlockSource {
  readonly #pieces: AsyncIterator<Uint8Array>
  #turn: Promise<unknown> = Promise.resolve()
  #offset = 0

  constructor(pieces: AsyncIterable<Uint8Array>) {
    this.#pieces = pieces[Symbol.asyncIterator]()
  }

  async next(): Promise<OutgoingBlock | undefined> {
    const mine = this.#turn.then(async () => {
      const { done, value } = await this.#pieces.next()
      if (done === true) return undefined
      const offset = this.#offset
      this.#offset += value.byteLength
      return { offset, parts: [value] }
    })
    this.#turn = mine.catch(() => {})
    return await mine
  }

  async close(): Promise<void> {
    await this.#turn
    await this.#pieces.return?.()
  }
}

/**
 * Yields the same arrays and checks their total, so that a file that ends early is never sent as
 * if it were whole.
 *
 * @yields what it is given.
 * @throws {StorageTruncatedError} at the end if there were not `length` bytes.
 */
export async function* exactly(
  pieces: AsyncIterable<Uint8Array>,
  length: number
): AsyncGenerator<Uint8Array> {
  let total = 0
  for await (const piece of pieces) {
    total += piece.byteLength
    yield piece
  }
  if (total !== length) throw new StorageTruncatedError(length, total)
}
