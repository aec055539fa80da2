import type { Signer } from '../../../src/metadata/signature-types.ts'
import type { MetadataStore } from '../../../src/metadata/store-types.ts'
import type { ManualClock } from '../manual-clock.ts'
import type { CellPool } from './cells.ts'
import type { HistoryCounts } from './counts.ts'
import type { Dice } from './dice.ts'
import type { HistoryModel } from './model.ts'
import type { HistoryReader } from './reading.ts'
import type { Scheduler } from './scheduler.ts'
import type { HistoryVersions } from './versions.ts'

/** What all parts of a history share. */
export interface HistoryParts {
  readonly counts: HistoryCounts
  readonly dice: Dice
  readonly clock: ManualClock
  readonly pool: CellPool
  readonly model: HistoryModel
  readonly manager: Signer
  readonly store: MetadataStore
  readonly scheduler: Scheduler
  readonly versions: HistoryVersions
  readonly reader: HistoryReader
}
