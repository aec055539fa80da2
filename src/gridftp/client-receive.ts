import type { Socket } from 'node:net'
import { brokenConnection } from './client-data.ts'
import { FtpDataConnectionError } from './client-errors.ts'
import { BlockDecoder, EodLedger } from './mode-e.ts'

/** Takes the payload in the order in which one connection carries it. */
export type TakePayload = (offset: number, bytes: Uint8Array) => Promise<void>

interface Block {
  readonly offset: number
  readonly bytes: Uint8Array
}

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
  readonly #ledger: EodLedger
  readonly #done = Promise.withResolvers<void>()

  /** @param maxConnections the largest number of connections that the sender may announce. */
  constructor(take: TakePayload, maxConnections: number) {
    this.#take = take
    this.#ledger = new EodLedger(maxConnections)
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
    this.#receive(socket).catch((error: unknown) => this.#done.reject(error))
  }

  async #receive(socket: Socket): Promise<void> {
    const parts: Block[] = []
    const decoder = new BlockDecoder({
      onPayload: (offset, bytes) => parts.push({ offset, bytes }),
      onEodCount: (count) => this.#ledger.noteCount(count)
    })
    for await (const piece of piecesOf(socket)) {
      decoder.push(piece)
      for (const { offset, bytes } of parts.splice(0)) await this.#take(offset, bytes)
      if (!decoder.isEnded) continue
      this.#ledger.noteEod()
      if (this.#ledger.isComplete) this.#done.resolve()
      return
    }
    throw new FtpDataConnectionError('data connection ended before its EOD')
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
