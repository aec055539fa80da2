import { serveWorkerCalls } from '../../../src/lib/worker-call.ts'
import { type HistoryCounts, noCounts } from './counts.ts'
import { TreeHistory } from './history.ts'

/** Histories to play, with seeds that follow each other. */
export interface Batch {
  /** The first seed. */
  readonly seed: number
  readonly count: number
}

/** What came of a batch. */
export interface Played {
  readonly counts: HistoryCounts
  readonly failures: readonly { readonly seed: number; readonly reason: string }[]
}

const methods = {
  /** Plays a batch to its end, whatever fails. */
  play: async ({ seed: first, count }: Batch): Promise<Played> => {
    const counts = noCounts()
    const failures = []
    for (let seed = first; seed < first + count; seed++) {
      try {
        await new TreeHistory(seed, counts).run()
      } catch (error) {
        failures.push({ seed, reason: describe(error) })
      }
    }
    return { counts, failures }
  }
}

/** What a player of histories answers to. */
export type HistoryPlayer = typeof methods

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause === undefined ? error.message : `${error.message}: ${describe(error.cause)}`
}

serveWorkerCalls(methods)
