import { WorkerCaller, workerUrl } from '../../../src/lib/worker-call.ts'
import type { HistoryPlayer } from './play-worker.ts'

/** A thread that plays tree histories: outside of jest's sandbox they take half the time. */
export function startHistoryPlayer(): WorkerCaller<HistoryPlayer> {
  return new WorkerCaller<HistoryPlayer>(workerUrl('play-worker', import.meta.url), {
    name: 'player of histories'
  })
}
