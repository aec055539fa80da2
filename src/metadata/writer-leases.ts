import type { Clock } from '../lib/clock.ts'
import type { VersionRef } from './types.ts'

/**
 * Until when writers have time to commit, on the monotonic clock: setting the machine's clock
 * fences nobody. A version that it has not heard of, as after a start, gets a whole lease.
 */
export class WriterLeases {
  readonly #clock: Pick<Clock, 'monotonic'>
  readonly #leaseMs: number
  readonly #ends = new Map<string, number>()

  constructor(clock: Pick<Clock, 'monotonic'>, leaseMs: number) {
    this.#clock = clock
    this.#leaseMs = leaseMs
  }

  /** Begins the lease of a version anew. @returns when it ends. */
  begin(ref: VersionRef): number {
    const endMs = this.#clock.monotonic() + this.#leaseMs
    this.#ends.set(keyOf(ref), endMs)
    return endMs
  }

  /** When the lease of a version ends. */
  endOf(ref: VersionRef): number {
    return this.#ends.get(keyOf(ref)) ?? this.begin(ref)
  }

  /** Forgets a version that is committed. */
  end(ref: VersionRef): void {
    this.#ends.delete(keyOf(ref))
  }
}

function keyOf({ blob, version }: VersionRef): string {
  return `${blob}/${version}`
}
