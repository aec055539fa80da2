import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import type { WrittenChunk } from '../../src/chunks/replica-types.ts'
import { ReplicatedWriter } from '../../src/chunks/replicated-writer.ts'
import { errorCode } from '../../src/lib/errors.ts'
import { sampleChunk } from '../contract/chunk-store.ts'
import { type ProviderCall, ProviderPool } from '../support/provider-pool.ts'

const NAMES = 'abcdefg'

type Step =
  | { readonly kind: 'write'; readonly count: number }
  | { readonly kind: 'kill' | 'revive' | 'lose' | 'lock'; readonly name: string }
  | { readonly kind: 'beat' }

const name = fc.constantFrom(...Array.from(NAMES))
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('write' as const), count: fc.nat(6) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom('kill' as const, 'revive' as const, 'lose' as const, 'lock' as const),
      name
    })
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('beat' as const) }) }
)

const isDown = async (): Promise<void> => {
  throw new Error('connection refused')
}
const isReadOnly = async (call: ProviderCall): Promise<void> => {
  if (call === 'put' || call === 'copy') throw new Error('read-only')
}
const isWell = async (): Promise<void> => {}

/** Does what happens to a provider. */
async function strike(pool: ProviderPool, { kind, name: struck }: Step & { name: string }) {
  const provider = pool.get(struck)
  if (kind === 'kill') provider.onCall = isDown
  if (kind === 'lock') provider.onCall = isReadOnly
  if (kind === 'revive') provider.onCall = isWell
  if (kind !== 'lose') return
  for (const id of Array.from(provider.store.ids())) await provider.store.delete(id)
}

/** Reports of those that are not down. */
async function beat(pool: ProviderPool): Promise<void> {
  for (const provider of pool.providers.values()) {
    if (provider.onCall !== isDown) await pool.manager.report(await provider.report('zone'))
  }
}

/** @returns the chunks that were written, in spite of whatever happened meanwhile. */
async function upload(pool: ProviderPool, writer: ReplicatedWriter, steps: readonly Step[]) {
  const written: WrittenChunk[] = []
  let seed = 0
  for (const each of steps) {
    if (each.kind === 'beat') await beat(pool)
    else if (each.kind !== 'write') await strike(pool, each)
    else {
      for (let at = 0; at < each.count; at++) {
        const { id, bytes } = sampleChunk(seed++)
        const replicas = await writer.write(id, bytes).catch(() => undefined)
        if (replicas !== undefined) written.push({ id, replicas })
      }
    }
  }
  return written
}

test('whatever happens to providers, what is made whole is where it is said to be', async () => {
  const history = fc.array(step, { minLength: 4, maxLength: 30 })
  await fc.assert(
    fc.asyncProperty(history, fc.integer({ min: 1, max: 3 }), async (steps, replicas) => {
      const pool = await ProviderPool.start(NAMES)
      const components = { directory: pool, providers: pool.manager, clock: pool.clock }
      const writer = new ReplicatedWriter(components, { replicas })
      const written = await upload(pool, writer, steps)
      const reachable = Array.from(pool.providers.values()).filter((one) => one.onCall !== isDown)
      const usable = reachable.filter((one) => one.onCall === isWell)
      await beat(pool)

      const outcome = await writer.makeWhole(written).catch((error: unknown) => errorCode(error))

      const isNowhere = written.some(({ id }) => !reachable.some(({ store }) => store.has(id)))
      if (isNowhere || typeof outcome === 'string' || outcome === undefined) {
        // What is nowhere any more must fail, and what few would take may.
        expect(outcome).toBe('ERR_NOT_ENOUGH_REPLICAS')
        expect(isNowhere || reachable.length - usable.length > 2).toBe(true)
        return
      }
      const named = outcome.map((names) => names.join(''))
      const holding = (names: string, at: number): string =>
        Array.from(names)
          .filter((one) => pool.get(one).store.has(written[at]?.id ?? new Uint8Array(32)))
          .join('')
      expect(named).toEqual(named.map(holding))
      expect(
        named.filter((names) => Array.from(names).some((one) => pool.get(one).onCall === isDown))
      ).toEqual([])
      const least = Math.min(replicas, usable.length)
      expect(named.filter((names) => names.length < least)).toEqual([])
    }),
    { numRuns: 60 }
  )
})
