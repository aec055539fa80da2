import type { RepairFigures, RepairOverview } from '../chunks/maintenance-types.ts'
import type { ProviderManager } from '../chunks/provider-manager-types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { Clock } from '../lib/clock.ts'
import { withDeadline } from '../lib/deadline.ts'
import { toError } from '../lib/to-error.ts'

/** How long the provider manager may take to answer, in milliseconds. */
const ANSWER_MS = 3000

/** Providers by how they are; one that drains is counted there, unless it is dead. */
export interface ProviderCounts {
  readonly live: number
  readonly suspect: number
  readonly dead: number
  readonly draining: number
}

/** Why something cannot be told. */
export interface NotKnown {
  readonly error: string
}

/** Providers and replicas of the cluster, as far as the provider manager tells. */
export interface ClusterHealth {
  readonly providers: ProviderCounts | NotKnown
  readonly repair: RepairFigures | NotKnown
}

export interface ClusterHealthComponents {
  readonly providers: Pick<ProviderManager, 'list'>
  readonly repair: RepairOverview
  readonly clock: Clock
}

/** Asks the provider manager how the cluster is; one that does not answer is no error. */
export async function clusterHealth(
  { providers, repair, clock }: ClusterHealthComponents,
  { signal }: AbortOptions = {}
): Promise<ClusterHealth> {
  const within = { clock, timeoutMs: ANSWER_MS, timedOut, signal }
  const known = async <T>(ask: (options: AbortOptions) => Promise<T>): Promise<T | NotKnown> => {
    try {
      return await withDeadline(ask, within)
    } catch (thrown) {
      signal?.throwIfAborted()
      return { error: toError(thrown).message }
    }
  }
  const [counts, figures] = await Promise.all([
    known(async (options) => countProviders(await providers.list(options))),
    known(async (options) => (await repair.figures(options)) ?? NOT_LOOKED)
  ])
  return { providers: counts, repair: figures }
}

const timedOut = (): Error => new Error('the provider manager does not answer')

const NOT_LOOKED: NotKnown = { error: 'where all chunks are has not been looked at yet' }

function countProviders(states: Awaited<ReturnType<ProviderManager['list']>>): ProviderCounts {
  const counts = { live: 0, suspect: 0, dead: 0, draining: 0 }
  for (const { condition, isDraining } of states) {
    counts[isDraining && condition !== 'dead' ? 'draining' : condition]++
  }
  return counts
}
