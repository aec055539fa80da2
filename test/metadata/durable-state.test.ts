import { expect, test } from '@jest/globals'
import { DurableState } from '../../src/metadata/durable-state.ts'
import { VersionStoreError } from '../../src/metadata/errors.ts'
import { HoldTable } from '../../src/metadata/hold-table.ts'
import { NamespaceState } from '../../src/metadata/namespace.ts'
import { VersionManagerState } from '../../src/metadata/version-manager.ts'
import type { StateRow } from '../../src/metadata/version-rows.ts'
import type { VersionStore } from '../../src/metadata/version-store.ts'
import { ManualClock } from '../support/manual-clock.ts'

/** A store whose writes end when the test says so. */
class HeldStore implements VersionStore {
  readonly name = 'held'
  readonly writes: PromiseWithResolvers<void>[] = []
  rows: StateRow[] = []

  async start(): Promise<AsyncIterable<StateRow[]>> {
    const { rows } = this
    return (async function* () {
      yield rows
    })()
  }

  async write(): Promise<void> {
    const write = Promise.withResolvers<void>()
    this.writes.push(write)
    await write.promise
  }

  async ranges(): Promise<undefined[]> {
    return []
  }

  async stop(): Promise<void> {}
}

function make(store: VersionStore) {
  const failures: Error[] = []
  const state = new DurableState({
    store,
    versions: new VersionManagerState(),
    namespace: new NamespaceState(),
    holds: new HoldTable(new ManualClock()),
    onFailure: (error) => failures.push(error)
  })
  return { state, failures }
}

test('what only reads waits for what was written before it', async () => {
  const store = new HeldStore()
  const { state } = make(store)
  await state.start()
  const written = state.write(state.namespace.makeDirectory('/a', false, 1))
  let isRead = false

  const read = state
    .read(() => state.namespace.lookup('/a'), {})
    .then((found) => {
      isRead = true
      return found
    })
  store.writes[0]?.resolve()
  await written

  expect(isRead).toBe(false)
  store.writes[1]?.resolve()
  expect(await read).toMatchObject({ path: '/a' })
})

test('once rows could not be written, everything is refused, and the owner told once', async () => {
  const store = new HeldStore()
  const { state, failures } = make(store)
  await state.start()
  const one = state.write([])
  const two = state.write([])
  const error = new VersionStoreError('disk is full')

  for (const write of store.writes) write.reject(error)

  await expect(one).rejects.toBe(error)
  await expect(two).rejects.toBe(error)
  expect(failures).toEqual([error])
  expect(() => state.begin({})).toThrow(error)
  await expect(state.read(() => 1, {})).rejects.toBe(error)
})

test('refuses rows that contradict each other, as a store error', async () => {
  const store = new HeldStore()
  const lost = { kind: 'entry', id: 5, parent: 4, name: 'lost', blob: undefined } as const
  store.rows = [{ ...lost, isVisible: true, modifiedMs: 0 }]
  const { state } = make(store)

  await expect(state.start()).rejects.toMatchObject({
    code: 'ERR_VERSION_STORE',
    message: expect.stringContaining('entries in no folder')
  })
  expect(() => state.begin({})).toThrow('not running')
})
