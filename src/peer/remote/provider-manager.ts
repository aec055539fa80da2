import type { RepairFigures, RepairOverview } from '../../chunks/maintenance-types.ts'
import type {
  FailureOptions,
  PlacementRequest,
  ProviderManager,
  ProviderReport,
  ProviderState,
  ReportAnswer
} from '../../chunks/provider-manager-types.ts'
import type { ProviderId } from '../../chunks/types.ts'
import type { AbortOptions } from '../../lib/abort-options.ts'
import type { Clock } from '../../lib/clock.ts'
import { ProtocolViolationError } from '../errors.ts'
import { MAX_ADDRESSES } from '../metadata-list.ts'
import {
  MAX_EXCLUDED,
  MAX_PLACE_COUNT,
  PROVIDERS_PROTOCOL,
  providersMethods
} from '../protocols/providers.ts'

import type { AnswerOf } from '../rpc.ts'
import type { PeerNode } from '../types.ts'
import type { FindRole } from './find-role.ts'
import { PersistentCaller, type PersistentCallerOptions } from './persistent-caller.ts'

export interface RemoteProviderManagerComponents {
  readonly node: Pick<PeerNode, 'open' | 'addresses' | 'learnAddresses'>
  readonly clock: Clock
  /** Who is the provider manager now. */
  readonly find: FindRole
}

/**
 * The provider manager of the cluster, over the network. Every call is tried again while it
 * restarts. What it says of providers' addresses is passed on to the node, so that they can be
 * dialled.
 */
export class RemoteProviderManager implements ProviderManager, RepairOverview {
  readonly #caller: PersistentCaller
  readonly #node: RemoteProviderManagerComponents['node']

  constructor(components: RemoteProviderManagerComponents, options: PersistentCallerOptions = {}) {
    const { node, clock, find } = components
    const what = 'the provider manager'
    this.#caller = new PersistentCaller(
      { node, clock, spec: PROVIDERS_PROTOCOL, find, what },
      options
    )
    this.#node = node
  }

  /** Ends what is in flight. */
  async stop(): Promise<void> {
    await this.#caller.close()
  }

  async report(report: ProviderReport, options?: AbortOptions): Promise<ReportAnswer> {
    const addresses = this.#node.addresses().slice(0, MAX_ADDRESSES)
    const request = { report, addresses }
    return await this.#caller.call(providersMethods.report, request, 'repeatable', options)
  }

  /** Larger requests than one message may carry are made in several. */
  async place(request: PlacementRequest, options?: AbortOptions): Promise<ProviderId[][]> {
    const { count, chunkBytes, replicas, stripe } = request
    const exclude = (request.exclude ?? []).slice(0, MAX_EXCLUDED)
    const beside = (request.beside ?? []).slice(0, MAX_EXCLUDED)
    const common = {
      chunkBytes,
      replicas,
      exclude,
      beside,
      ...(stripe !== undefined && { stripe })
    }
    const placed: ProviderId[][] = []
    while (placed.length < count) {
      const part = Math.min(count - placed.length, MAX_PLACE_COUNT)
      const { place } = providersMethods
      const asked = { count: part, ...common }
      const answer = await this.#caller.call(place, asked, 'repeatable', options)
      await this.#learn(answer.providers)
      placed.push(...readPlacements(answer, part))
    }
    return placed
  }

  async reportFailure(id: ProviderId, options: FailureOptions = {}): Promise<void> {
    const { reason = 'failed', signal } = options
    const request = { id, reason }
    await this.#caller.call(providersMethods.reportFailure, request, 'repeatable', { signal })
  }

  async list(options?: AbortOptions): Promise<ProviderState[]> {
    const all: ProviderState[] = []
    for (;;) {
      const after = all.at(-1)?.id
      const request = after === undefined ? {} : { after }
      const { list } = providersMethods
      const { providers, isCut } = await this.#caller.call(list, request, 'repeatable', options)
      await this.#learn(providers)
      for (const { addresses: _, ...state } of providers) all.push(state)
      if (!isCut || providers.length === 0) return all
    }
  }

  async setDraining(
    id: ProviderId,
    isDraining: boolean,
    options?: AbortOptions
  ): Promise<ProviderState> {
    const { setDraining } = providersMethods
    const request = { id, isDraining }
    const { provider } = await this.#caller.call(setDraining, request, 'repeatable', options)
    const { addresses: _, ...state } = provider
    return state
  }

  async figures(options?: AbortOptions): Promise<RepairFigures | undefined> {
    const { repairFigures } = providersMethods
    const { figures } = await this.#caller.call(repairFigures, {}, 'repeatable', options)
    return figures ?? undefined
  }

  async #learn(
    peers: readonly { readonly id: ProviderId; readonly addresses: readonly string[] }[]
  ): Promise<void> {
    for (const { id, addresses } of peers) {
      if (addresses.length > 0) await this.#node.learnAddresses(id, addresses)
    }
  }
}

function readPlacements(
  { providers, placements }: AnswerOf<typeof providersMethods.place>,
  count: number
): ProviderId[][] {
  const named = placements.map((indexes) => indexes.map((index) => providers[index]?.id))
  if (named.length !== count || named.some((ids) => ids.includes(undefined))) {
    throw new ProtocolViolationError('the provider manager', 'a placement that does not add up')
  }
  return named as ProviderId[][]
}
