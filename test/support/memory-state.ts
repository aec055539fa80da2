import { systemClock } from '../../src/lib/clock.ts'
import { DurableState } from '../../src/metadata/durable-state.ts'
import { HoldTable } from '../../src/metadata/hold-table.ts'
import { NamespaceState } from '../../src/metadata/namespace.ts'
import { VersionManagerState } from '../../src/metadata/version-manager.ts'
import type { StateRow } from '../../src/metadata/version-rows.ts'

/** A version manager's state that begins with these rows and is never written down. */
export async function memoryState(rows: readonly StateRow[]): Promise<DurableState> {
  const state = new DurableState({
    store: {
      name: 'memory',
      start: async () => loaded(rows),
      write: async () => {},
      ranges: async () => [],
      stop: async () => {}
    },
    versions: new VersionManagerState(),
    namespace: new NamespaceState(),
    holds: new HoldTable(systemClock),
    onFailure: () => {}
  })
  await state.start()
  return state
}

async function* loaded(rows: readonly StateRow[]): AsyncGenerator<StateRow[]> {
  yield Array.from(rows)
}
