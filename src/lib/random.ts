import { randomBytes } from 'node:crypto'

/** A number in [0, 1). Injected wherever chance decides, so that a seed reproduces a run. */
export type Random = () => number

/** Chance from the machine. */
export const systemRandom: Random = () => Math.random()

/** The same sequence for the same seed (mulberry32). Not for secrets. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d_2b_79_f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Unpredictable bytes, for nonces and tokens. */
export function secureBytes(length: number): Uint8Array {
  return new Uint8Array(randomBytes(length))
}
