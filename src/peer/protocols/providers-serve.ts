import type { RepairOverview } from '../../chunks/maintenance-types.ts'
import type { ProviderManager, ProviderState } from '../../chunks/provider-manager-types.ts'
import type { ProviderId } from '../../chunks/types.ts'
import { MIB } from '../../lib/bytes.ts'
import type { Clock } from '../../lib/clock.ts'
import type { LoggerFactory } from '../../lib/logger.ts'
import { NotPermittedError } from '../errors.ts'
import { PROVIDERS_PERMISSIONS, permitsProtocol } from '../rights.ts'
import type { AnswerOf } from '../rpc.ts'
import {
  answerMethod,
  permitted,
  type RpcHandler,
  type ServeRpcOptions,
  serveRpc
} from '../rpc-server.ts'
import type { PeerNode } from '../types.ts'
import { MAX_LISTED_PROVIDERS, PROVIDERS_PROTOCOL, providersMethods } from './providers.ts'
import { takePage } from './schemas.ts'

export interface ServeProvidersComponents {
  readonly providers: ProviderManager
  /** Whoever repairs, beside the provider manager. @default nobody does */
  readonly repair?: RepairOverview | undefined
  readonly clock: Clock
  readonly logger: LoggerFactory
}

type Listed = ProviderState & { addresses: string[] }

const MAX_LIST_BYTES = MIB / 2

/** Bytes of addresses beside a placement: with them and all else it fits into a message. */
const MAX_ADDRESSES_BYTES = MIB / 4

/** Answers providers/1 on a node from now on. */
export async function serveProviders(
  node: PeerNode,
  components: ServeProvidersComponents,
  options: ServeRpcOptions = {}
): Promise<void> {
  const service = new ProvidersService(node, components)
  const handlers = permitted(PROVIDERS_PERMISSIONS, service.handlers())
  const { clock } = components
  const logger = components.logger.forComponent('blobswarm:peer:providers')
  await node.serve(
    PROVIDERS_PROTOCOL,
    (channel) => serveRpc(channel, { handlers, clock, logger }, options),
    (member) => permitsProtocol(PROVIDERS_PROTOCOL.id, member)
  )
}

class ProvidersService {
  readonly #node: PeerNode
  readonly #providers: ProviderManager
  readonly #repair: RepairOverview | undefined
  // Grows by one entry for each agent that holds a certificate with the provider role.
  readonly #addresses = new Map<ProviderId, string[]>()

  constructor(node: PeerNode, { providers, repair }: ServeProvidersComponents) {
    this.#node = node
    this.#providers = providers
    this.#repair = repair
  }

  handlers(): RpcHandler[] {
    const methods = providersMethods
    return [
      answerMethod(methods.report, async ({ report, addresses }, { member, signal }) => {
        if (report.id !== member.peerId) {
          throw new NotPermittedError(`a report of ${report.id} from ${member.peerId}`)
        }
        this.#addresses.set(report.id, addresses)
        await this.#node.learnAddresses(report.id, addresses)
        return await this.#providers.report(report, { signal })
      }),
      answerMethod(methods.place, async (request, { signal }) =>
        this.#describe(await this.#providers.place(request, { signal }))
      ),
      answerMethod(methods.reportFailure, async ({ id, reason }, { signal }) => {
        await this.#providers.reportFailure(id, { reason, signal })
        return {}
      }),
      answerMethod(methods.list, ({ after }, { signal }) => this.#list(after, signal)),
      answerMethod(methods.setDraining, async ({ id, isDraining }, { signal }) => {
        const state = await this.#providers.setDraining(id, isDraining, { signal })
        return { provider: { ...state, addresses: this.#addressesOf(id) } }
      }),
      answerMethod(methods.repairFigures, async (_request, { signal }) => {
        return { figures: (await this.#repair?.figures({ signal })) ?? null }
      })
    ]
  }

  #describe(placed: readonly (readonly ProviderId[])[]): AnswerOf<typeof providersMethods.place> {
    const indexes = new Map<ProviderId, number>()
    const placements = placed.map((ids) =>
      ids.map((id) => {
        const index = indexes.get(id) ?? indexes.size
        indexes.set(id, index)
        return index
      })
    )
    let bytes = 0
    const providers = [...indexes.keys()].map((id) => {
      const addresses = this.#addressesOf(id)
      bytes += addressBytes(addresses)
      return { id, addresses: bytes <= MAX_ADDRESSES_BYTES ? addresses : [] }
    })
    return { providers, placements }
  }

  async #list(
    after: ProviderId | undefined,
    signal: AbortSignal
  ): Promise<AnswerOf<typeof providersMethods.list>> {
    const states = await this.#providers.list({ signal })
    const following = states
      .filter(({ id }) => after === undefined || id > after)
      .toSorted((left, right) => (left.id < right.id ? -1 : 1))
    const first: Listed[] = []
    for (const state of following.slice(0, MAX_LISTED_PROVIDERS)) {
      first.push({ ...state, addresses: this.#addressesOf(state.id) })
    }
    const { items, isCut } = takePage(
      first,
      MAX_LIST_BYTES,
      ({ addresses }) => 512 + addressBytes(addresses)
    )
    return { providers: items, isCut: isCut || following.length > first.length }
  }

  #addressesOf(id: ProviderId): string[] {
    return id === this.#node.peerId ? this.#node.addresses() : (this.#addresses.get(id) ?? [])
  }
}

function addressBytes(addresses: readonly string[]): number {
  return addresses.reduce((bytes, address) => bytes + address.length + 4, 0)
}
