import type { Cancel, Clock } from '../lib/clock.ts'
import type { LongOptions, OperationProgress } from './operations.ts'

/** Time after which the last report is made again, so that nobody takes silence for death. */
const REPEAT_MS = 10_000

/** Reports how far an operation is, and again every ten seconds while there is nothing new. */
export class SteadyProgress {
  readonly #clock: Clock
  readonly #onProgress: NonNullable<LongOptions['onProgress']>
  #cancel: Cancel = () => {}

  constructor(clock: Clock, onProgress: LongOptions['onProgress']) {
    this.#clock = clock
    this.#onProgress = onProgress ?? (() => {})
  }

  report(progress: OperationProgress): void {
    this.#cancel()
    this.#onProgress(progress)
    this.#cancel = this.#clock.schedule(() => this.report(progress), REPEAT_MS)
  }

  stop(): void {
    this.#cancel()
  }
}
