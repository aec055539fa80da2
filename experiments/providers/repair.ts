import { setTimeout as pause } from 'node:timers/promises'
import { callAgent } from '../../src/agent/control-client.ts'
import type { RepairFigures } from '../../src/chunks/maintenance-types.ts'
import type { ProviderState } from '../../src/chunks/provider-manager-types.ts'
import { ProcessorUse } from '../support/processor.ts'
import type { StripedCluster } from './striped-cluster.ts'

/** How long it took to replace what a provider had. */
export interface RepairRun {
  /** Bytes of chunks at the provider that was lost. */
  readonly lostBytes: number
  readonly lostChunks: number
  /** From its end until it counted as dead. */
  readonly noticeSeconds: number
  /** From then until no chunk was under-replicated, and this was known. */
  readonly seconds: number
  readonly copiedBytes: number
  /** What went over the links of the others meanwhile, in both directions alike. */
  readonly wireBytes: number
  readonly idle: number
}

/** Timers that make a death known within seconds. */
export const SOON_DEAD = [
  'repair.suspectAfter=1s',
  'repair.deadAfter=3s',
  'providers.heartbeat=500ms'
]

const POLL_MS = 100
const WITHIN_MS = 300_000

/** Kills the provider that holds most and waits until all that it had has been copied elsewhere. */
export async function measureRepair(cluster: StripedCluster): Promise<RepairRun> {
  const { socket } = cluster.manager.ready
  const states = async (): Promise<ProviderState[]> =>
    (await callAgent(socket, 'GET', 'providers')) as ProviderState[]
  const repair = async (): Promise<RepairFigures | undefined> =>
    ((await callAgent(socket, 'GET', 'status')) as { readonly repair?: RepairFigures }).repair
  const before = await until(repair, isWhole)
  const [victim] = (await states()).toSorted((a, b) => b.storedBytes - a.storedBytes)
  if (victim === undefined) throw new Error('there is no provider')
  const killedMs = performance.now()
  await cluster.killProvider(victim.id)
  const wireBefore = await receivedBytes(cluster)
  await until(states, (all) => all.find(({ id }) => id === victim.id)?.condition === 'dead')
  const deadMs = performance.now()
  const use = await ProcessorUse.begin([])
  const after = await until(repair, isWhole)
  const wholeMs = performance.now()
  return {
    lostBytes: victim.storedBytes,
    lostChunks: victim.chunkCount,
    noticeSeconds: (deadMs - killedMs) / 1000,
    seconds: (wholeMs - deadMs) / 1000,
    copiedBytes: (after?.copiedBytes ?? 0) - (before?.copiedBytes ?? 0),
    wireBytes: (await receivedBytes(cluster)) - wireBefore,
    idle: (await use.end()).idle
  }
}

function isWhole(figures: RepairFigures | undefined): boolean {
  return figures?.isCurrent === true && figures.chunks > 0 && figures.underReplicated === 0
}

async function receivedBytes(cluster: StripedCluster): Promise<number> {
  const wire = await cluster.wireOfProviders()
  return wire.reduce((sum, { receivedBytes: each }) => sum + each, 0)
}

async function until<T>(look: () => Promise<T>, isWanted: (seen: T) => boolean): Promise<T> {
  for (const endMs = performance.now() + WITHIN_MS; ; await pause(POLL_MS)) {
    const seen = await look()
    if (isWanted(seen)) return seen
    if (performance.now() > endMs) throw new Error(`still ${JSON.stringify(seen)}`)
  }
}
