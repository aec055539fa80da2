import type { Socket } from 'node:net'
import { brokenConnection } from './client-data.ts'
import { FtpDataConnectionError } from './client-errors.ts'
import {
  decodeModeEHeader,
  MODE_E_EOD,
  MODE_E_EOF,
  MODE_E_HEADER_BYTES,
  MODE_E_RESTART,
  modeEPayloadBytes
} from './mode-e-header.ts'

/** Takes the payload in the order in which one connection carries it. */
export type TakePayload = (offset: number, bytes: Uint8Array) => Promise<void>

/** Receives a file until its connection ends (MODE S). */
export async function receiveStream(socket: Socket, take: TakePayload): Promise<void> {
  let offset = 0
  for await (const piece of piecesOf(socket)) {
    await take(offset, piece)
    offset += piece.byteLength
  }
}

/**
 * Receives a file over any number of connections in extended blocks. Connections are given to `add`
 * as they arrive; all is there when as many have ended as the EOF header says.
 */
export class BlockReceiver {
  readonly #take: TakePayload
  readonly #done = Promise.withResolvers<void>()
  #endsSeen = 0
  #endsExpected: number | undefined

  constructor(take: TakePayload) {
    this.#take = take
    this.#done.promise.catch(() => undefined)
  }

  /** Resolves when every byte was taken. @throws what `take` threw, or what broke a connection. */
  async done(): Promise<void> {
    return this.#done.promise
  }

  /** Lets `done` reject. */
  fail(reason: Error): void {
    this.#done.reject(reason)
  }

  /** Reads one connection up to its EOD; it stays open for its owner to close. */
  add(socket: Socket): void {
    this.#receive(socket).then(
      () => this.#countEnd(),
      (error: unknown) => this.#done.reject(error)
    )
  }

  async #receive(socket: Socket): Promise<void> {
    const parser = new BlockParser((count) => {
      this.#endsExpected = count
    })
    for await (const piece of piecesOf(socket)) {
      for (const { offset, bytes } of parser.push(piece)) await this.#take(offset, bytes)
      if (parser.isEnded) return
    }
    throw new FtpDataConnectionError('data connection ended before its EOD')
  }

  #countEnd(): void {
    this.#endsSeen += 1
    const expected = this.#endsExpected ?? Number.POSITIVE_INFINITY
    if (this.#endsSeen === expected) this.#done.resolve()
    if (this.#endsSeen <= expected) return
    this.fail(new FtpDataConnectionError(`${this.#endsSeen} EODs where ${expected} were announced`))
  }
}

/** Cuts what one connection carries into payload; stops at its EOD. */
class BlockParser {
  readonly #onEndCount: (count: number) => void
  readonly #header = Buffer.alloc(MODE_E_HEADER_BYTES)
  #headerFilled = 0
  #left = 0
  #offset = 0
  #flags = 0

  /** `onEndCount` hears what an EOF header says. */
  constructor(onEndCount: (count: number) => void) {
    this.#onEndCount = onEndCount
  }

  /** True once the EOD and all that it announced have come. */
  get isEnded(): boolean {
    return this.#left === 0 && (this.#flags & MODE_E_EOD) !== 0
  }

  /**
   * Cuts the next bytes.
   *
   * @yields views of `piece` with their place in the file.
   * @throws {MalformedError} if a header cannot be.
   */
  *push(piece: Buffer): Generator<{ readonly offset: number; readonly bytes: Uint8Array }> {
    let at = 0
    while (at < piece.byteLength && !this.isEnded) {
      if (this.#left === 0) {
        at += this.#fillHeader(piece, at)
        continue
      }
      const bytes = piece.subarray(at, at + this.#left)
      const offset = this.#offset
      at += bytes.byteLength
      this.#left -= bytes.byteLength
      this.#offset += bytes.byteLength
      if ((this.#flags & MODE_E_RESTART) === 0) yield { offset, bytes }
    }
  }

  #fillHeader(piece: Buffer, at: number): number {
    const length = piece.copy(this.#header, this.#headerFilled, at)
    this.#headerFilled += length
    if (this.#headerFilled === MODE_E_HEADER_BYTES) {
      const header = decodeModeEHeader(this.#header)
      this.#headerFilled = 0
      this.#flags = header.flags
      this.#left = modeEPayloadBytes(header)
      this.#offset = header.offset
      if ((header.flags & MODE_E_EOF) !== 0) this.#onEndCount(header.offset)
    }
    return length
  }
}

/**
 * Reads a connection; leaving the loop does not close it.
 *
 * @yields pieces as they arrive.
 */
async function* piecesOf(socket: Socket): AsyncGenerator<Buffer> {
  try {
    yield* socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>
  } catch (error) {
    throw brokenConnection('data connection lost', error)
  }
}
