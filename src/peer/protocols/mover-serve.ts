import type { Clock } from '../../lib/clock.ts'
import type { LoggerFactory } from '../../lib/logger.ts'
import { toError } from '../../lib/to-error.ts'
import type { LeafList } from '../../metadata/leaf-list.ts'
import { encodeLeafList } from '../../metadata/leaf-list-codec.ts'
import { decodeEnvelope } from '../../metadata/signed.ts'
import type { Page } from '../../metadata/store-types.ts'
import type { DataMover, OutgoingStripe, StripeSession } from '../../metadata/stripe-types.ts'
import { InvalidRequestError } from '../errors.ts'
import { MOVER_PERMISSIONS, permitsProtocol } from '../rights.ts'
import type { AnswerOf, RequestOf } from '../rpc.ts'
import {
  answerMethod,
  permitted,
  type RpcHandler,
  type ServeRpcOptions,
  serveRpc
} from '../rpc-server.ts'
import type { Channel, PeerNode } from '../types.ts'
import { MAX_LEAF_ANSWER_BYTES, MOVER_PROTOCOL, moverMethods } from './mover.ts'

export interface ServeMoverComponents {
  /** This agent as a data mover. */
  readonly mover: DataMover
  readonly clock: Clock
  readonly logger: LoggerFactory
}

/** Requests of one session at the same time, besides a transfer. */
const MAX_CONCURRENT = 8

/** A transfer, and one that the front has given up and that still winds down. */
const MAX_LONG = 4

/** Leaf lists that a front may leave half-read; it reads one at a time of each kind. */
const MAX_LISTS = 4

/** Answers mover/1 on a node from now on. */
export async function serveMover(
  node: PeerNode,
  components: ServeMoverComponents,
  options: ServeRpcOptions = {}
): Promise<void> {
  const { mover, clock } = components
  const logger = components.logger.forComponent('blobswarm:peer:mover')
  const limits = { maxConcurrent: MAX_CONCURRENT, maxLong: MAX_LONG, ...options }
  const serve = async (channel: Channel): Promise<void> => {
    const conversation = new MoverConversation(mover)
    const end = (): void => void conversation.end() // does not reject; awaited below
    channel.ended.addEventListener('abort', end, { once: true })
    try {
      const handlers = permitted(MOVER_PERMISSIONS, conversation.handlers())
      await serveRpc(channel, { handlers, clock, logger }, limits)
    } catch (error) {
      logger.debug('a session of %p ended: %e', channel.remote.peerId, toError(error))
      throw error
    } finally {
      await conversation.end()
    }
  }
  await node.serve(MOVER_PROTOCOL, serve, (member) => permitsProtocol(MOVER_PROTOCOL.id, member))
}

/** The session of one channel. */
class MoverConversation {
  readonly #mover: DataMover
  #session: StripeSession | undefined
  /** Leaf lists that are being given, by their numbers. */
  readonly #lists = new Map<number, Iterator<Page>>()
  #listCount = 0
  #isOpening = false
  #hasEnded = false

  constructor(mover: DataMover) {
    this.#mover = mover
  }

  /** Ends the session, if there is one or will be. Does not reject. */
  async end(): Promise<void> {
    this.#hasEnded = true
    await this.#session?.close().catch(() => {}) // there is nobody whom it could be told
  }

  handlers(): RpcHandler[] {
    const methods = moverMethods
    return [
      answerMethod(methods.open, (request) => this.#open(request)),
      answerMethod(methods.listen, ({ family }, options) => this.#opened().listen(family, options)),
      answerMethod(methods.connect, async (request, options) => {
        const { counts, isReused } = await this.#opened().connect(request, options)
        return { counts: [...counts], isReused }
      }),
      answerMethod(methods.receive, (request, { signal }) => this.#receive(request, signal)),
      answerMethod(methods.checkpoint, async (_request, options) => {
        return { list: this.#give(await this.#opened().checkpoint(options)) }
      }),
      answerMethod(methods.leaves, async ({ list }) => this.#nextLeaves(list)),
      answerMethod(methods.send, async (request, options) => {
        const sentBytes = await this.#opened().send(outgoingOf(request), options)
        return { sentBytes }
      }),
      answerMethod(methods.progress, (_request, options) => this.#opened().progress(options)),
      answerMethod(methods.ensure, async (_request, options) => {
        await this.#opened().ensure(options)
        return {}
      }),
      answerMethod(methods.release, async (_request, options) => {
        this.#lists.clear()
        await this.#opened().release(options)
        return {}
      })
    ]
  }

  async #open(request: RequestOf<typeof moverMethods.open>): Promise<Record<string, never>> {
    if (this.#isOpening) throw new InvalidRequestError('the session is open already')
    this.#isOpening = true
    const session = await this.#mover.open(request)
    this.#session = session
    if (this.#hasEnded) await session.close()
    return {}
  }

  async #receive(
    request: RequestOf<typeof moverMethods.receive>,
    signal: AbortSignal
  ): Promise<AnswerOf<typeof moverMethods.receive>> {
    const { receivedBytes, endBytes, leaves } = await this.#opened().receive(request, { signal })
    return { receivedBytes, endBytes, list: this.#give(leaves) }
  }

  #give(leaves: LeafList): number {
    const list = this.#listCount++
    this.#lists.set(list, encodeLeafList(leaves))
    for (const old of this.#lists.keys()) {
      if (this.#lists.size > MAX_LISTS) this.#lists.delete(old)
    }
    return list
  }

  #nextLeaves(list: number): AnswerOf<typeof moverMethods.leaves> {
    const given = this.#lists.get(list)
    if (given === undefined) throw new InvalidRequestError(`there is no list ${list}`)
    const pages: Uint8Array[] = []
    for (let bytes = 0; bytes < MAX_LEAF_ANSWER_BYTES; ) {
      const { done, value } = given.next()
      if (done === true) {
        this.#lists.delete(list)
        break
      }
      pages.push(value.bytes)
      bytes += value.bytes.byteLength
    }
    return { pages, isLast: !this.#lists.has(list) }
  }

  #opened(): StripeSession {
    if (this.#session === undefined)
      throw new InvalidRequestError('no session is open, or it has ended')
    return this.#session
  }
}

function outgoingOf(request: RequestOf<typeof moverMethods.send>): OutgoingStripe {
  const { record, ranges, ...rest } = request
  return {
    ...rest,
    record: decodeEnvelope(record),
    ranges: ranges.map(([start, end]) => ({ start, end }))
  }
}
