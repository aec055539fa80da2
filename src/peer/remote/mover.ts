import { chunkId, chunkKey } from '../../chunks/chunk-id.ts'
import type { AbortOptions } from '../../lib/abort-options.ts'
import type { Clock } from '../../lib/clock.ts'
import { MalformedError } from '../../lib/errors.ts'
import type { LeafList } from '../../metadata/leaf-list.ts'
import { loadLeafList, MAX_LEAF_PAGES } from '../../metadata/leaf-list-codec.ts'
import { encodeEnvelope } from '../../metadata/signed.ts'
import type {
  ConnectedTargets,
  ConnectRequest,
  DataMover,
  IncomingStripe,
  OutgoingStripe,
  ReceivedStripe,
  StripeAccess,
  StripeAddress,
  StripeProgress,
  StripeSession
} from '../../metadata/stripe-types.ts'
import { ProtocolViolationError } from '../errors.ts'
import { MOVER_PROTOCOL, moverMethods } from '../protocols/mover.ts'
import { RpcClient, type RpcClientOptions } from '../rpc-client.ts'
import type { PeerNode } from '../types.ts'

export interface RemoteMoverComponents {
  readonly node: Pick<PeerNode, 'open'>
  readonly clock: Clock
}

/** Time for an answer that waits for no data; a mover that takes longer counts as stalled. */
const ANSWER_TIMEOUT_MS = 10_000

/** Time to connect to a mover: a client waits for the slowest of them. */
const OPEN_TIMEOUT_MS = 5000

/** A data mover that is another agent. */
export class RemoteMover implements DataMover {
  readonly id: string
  readonly #components: RemoteMoverComponents
  readonly #options: RpcClientOptions

  constructor(id: string, components: RemoteMoverComponents, options: RpcClientOptions = {}) {
    this.id = id
    this.#components = components
    this.#options = { timeoutMs: ANSWER_TIMEOUT_MS, openTimeoutMs: OPEN_TIMEOUT_MS, ...options }
  }

  /** @throws {PeerUnreachableError | PeerTimeoutError | ProtocolRefusedError | RemoteError} */
  async open(access: StripeAccess, options: AbortOptions = {}): Promise<StripeSession> {
    const peer = { ...this.#components, peerId: this.id, spec: MOVER_PROTOCOL }
    const client = new RpcClient(peer, this.#options)
    try {
      await client.call(moverMethods.open, access, options)
      return new RemoteStripeSession(client)
    } catch (error) {
      await client.close()
      throw error
    }
  }
}

/**
 * A session over a channel of its own. A channel that ended takes the session with it: the next one
 * would have none open, so every later request fails.
 */
class RemoteStripeSession implements StripeSession {
  readonly mover: string
  readonly #client: RpcClient

  constructor(client: RpcClient) {
    this.mover = client.peerId
    this.#client = client
  }

  async listen(family: 1 | 2 | undefined, options?: AbortOptions): Promise<StripeAddress> {
    return await this.#client.call(moverMethods.listen, { family }, options)
  }

  async connect(request: ConnectRequest, options?: AbortOptions): Promise<ConnectedTargets> {
    const { parallelism } = request
    const targets = request.targets.map(({ host, port }) => ({ host, port }))
    const answer = await this.#client.call(moverMethods.connect, { targets, parallelism }, options)
    if (answer.counts.length !== targets.length) {
      throw new ProtocolViolationError(this.mover, 'counts of other targets')
    }
    return answer
  }

  async receive(stripe: IncomingStripe, options?: AbortOptions): Promise<ReceivedStripe> {
    const { receive } = moverMethods
    const { receivedBytes, endBytes, list } = await this.#client.call(receive, stripe, options)
    return { receivedBytes, endBytes, leaves: await this.#leaves(list, options) }
  }

  async checkpoint(options?: AbortOptions): Promise<LeafList> {
    const { list } = await this.#client.call(moverMethods.checkpoint, {}, options)
    return await this.#leaves(list, options)
  }

  async send(stripe: OutgoingStripe, options?: AbortOptions): Promise<number> {
    const { record, ranges, parts, ...rest } = stripe
    const request = {
      ...rest,
      record: encodeEnvelope(record),
      ranges: ranges.map(({ start, end }): [number, number] => [start, end]),
      parts: [...parts]
    }
    const { sentBytes } = await this.#client.call(moverMethods.send, request, options)
    return sentBytes
  }

  async progress(options?: AbortOptions): Promise<StripeProgress> {
    return await this.#client.call(moverMethods.progress, {}, options)
  }

  async ensure(options?: AbortOptions): Promise<void> {
    await this.#client.call(moverMethods.ensure, {}, options)
  }

  async release(options?: AbortOptions): Promise<void> {
    await this.#client.call(moverMethods.release, {}, options)
  }

  async close(): Promise<void> {
    await this.#client.close()
  }

  async #leaves(list: number, options?: AbortOptions): Promise<LeafList> {
    const pages = new Map<string, Uint8Array>()
    let root: Uint8Array | undefined
    for (let isLast = false; !isLast; ) {
      const answer = await this.#client.call(moverMethods.leaves, { list }, options)
      for (const page of answer.pages) {
        root = chunkId(page)
        pages.set(chunkKey(root), page)
      }
      isLast = answer.isLast
      if (pages.size > MAX_LEAF_PAGES + 1) this.#misbehaved('more leaves than a version has')
    }
    if (root === undefined) return this.#misbehaved('no leaves')
    try {
      return await loadLeafList(
        root,
        async (ids) => ids.map((id) => pages.get(chunkKey(id)) ?? this.#misbehaved('a page short')),
        options
      )
    } catch (error) {
      if (error instanceof MalformedError) this.#misbehaved(error.message)
      throw error
    }
  }

  #misbehaved(reason: string): never {
    throw new ProtocolViolationError(this.mover, reason)
  }
}
