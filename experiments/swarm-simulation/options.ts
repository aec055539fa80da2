import { KIB } from '../../src/lib/bytes.ts'
import type { DownloadPlanOptions } from '../../src/peer/swarm/plan.ts'
import type { ScorecardOptions } from '../../src/peer/swarm/scorecard.ts'
import { QUANTUM_BYTES } from './host.ts'

/** What a simulated swarm is like. */
export interface SwarmOptions {
  readonly agents: number
  readonly chunks: number
  readonly chunkBytes: number
  /** Mbit/s of every line, each way. */
  readonly mbits: number
  readonly latencyMs: number
  readonly maxNeighbours: number
  readonly windowBytes: number
  readonly haveIntervalMs: number
  /** The same while fewer than four chunks are to be announced. */
  readonly fewHavesIntervalMs: number
  readonly quantumBytes: number
  /** How often an agent looks whether time alone lets it ask for more. */
  readonly tickMs: number
  readonly seed: number
  readonly plan: DownloadPlanOptions
  readonly scorecard?: ScorecardOptions
}

export const DEFAULTS: SwarmOptions = {
  agents: 10,
  chunks: 512,
  chunkBytes: 256 * KIB,
  mbits: 50,
  latencyMs: 1,
  maxNeighbours: 20,
  windowBytes: 64 * KIB,
  haveIntervalMs: 200,
  fewHavesIntervalMs: 800,
  quantumBytes: QUANTUM_BYTES,
  tickMs: 100,
  seed: 1,
  plan: {}
}

/** Bytes a second of a rate in Mbit/s. */
export function bytesPerSecond(mbits: number): number {
  return (mbits * 1e6) / 8
}
