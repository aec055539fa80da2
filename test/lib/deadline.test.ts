import { describe, expect, test } from '@jest/globals'
import type { Cancel } from '../../src/lib/clock.ts'
import { withDeadline } from '../../src/lib/deadline.ts'
import { ManualClock } from '../support/manual-clock.ts'

class CountingClock extends ManualClock {
  readonly #open = new Set<symbol>()

  get scheduledCount(): number {
    return this.#open.size
  }

  override schedule(run: () => void, delayMs: number): Cancel {
    const entry = Symbol('timer')
    this.#open.add(entry)
    const cancel = super.schedule(() => {
      this.#open.delete(entry)
      run()
    }, delayMs)
    return () => {
      this.#open.delete(entry)
      cancel()
    }
  }
}

const never = new Promise<never>(() => {})
const timedOut = (): Error => new Error('too late')

describe('work under a deadline', () => {
  test('gives its result and leaves no timer behind', async () => {
    const clock = new CountingClock()

    const result = await withDeadline(async () => 42, { clock, timeoutMs: 100, timedOut })

    expect(result).toBe(42)
    expect(clock.scheduledCount).toBe(0)
  })

  test('rejects when the time is up, even if it does not heed its signal', async () => {
    const clock = new CountingClock()
    const signals: AbortSignal[] = []

    const result = withDeadline(
      ({ signal }) => {
        signals.push(signal)
        return never
      },
      { clock, timeoutMs: 100, timedOut }
    )
    clock.advance(100)

    await expect(result).rejects.toThrow('too late')
    expect(signals.map(({ aborted }) => aborted)).toEqual([true])
  })

  test('has more time after something moved', async () => {
    const clock = new CountingClock()
    const gate = Promise.withResolvers<string>()

    const result = withDeadline(
      ({ extend }) => {
        clock.advance(80)
        extend()
        clock.advance(80)
        return gate.promise
      },
      { clock, timeoutMs: 100, timedOut }
    )
    gate.resolve('done')

    expect(await result).toBe('done')
  })

  test('rejects with the reason of the caller', async () => {
    const clock = new CountingClock()
    const controller = new AbortController()
    const options = { clock, timeoutMs: 100, timedOut, signal: controller.signal }

    const result = withDeadline(() => never, options)
    controller.abort(new Error('changed my mind'))

    await expect(result).rejects.toThrow('changed my mind')
    await expect(withDeadline(() => never, options)).rejects.toThrow('changed my mind')
    expect(clock.scheduledCount).toBe(0)
  })
})
