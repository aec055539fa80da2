import { MemoryMetadataStore } from '../../../src/metadata/memory-node-store.ts'
import type { MetadataStore } from '../../../src/metadata/store-types.ts'
import type { Ticket } from '../../../src/metadata/ticket-types.ts'
import {
  VersionManagerState,
  type VersionManagerStateOptions
} from '../../../src/metadata/version-manager.ts'
import { gullible } from '../plain-signing.ts'

/** The rules that a history runs by, so that a mutation can put a wrong one in their place. */
export interface HistoryRules {
  newState(options: VersionManagerStateOptions): VersionManagerState
  newStore(): MetadataStore
  /** What a writer weaves by; beside its nodes stands the ticket as it was signed. */
  writerTicket(ticket: Ticket): Ticket
  /** What a repairer weaves by, and signs. */
  repairTicket(ticket: Ticket): Ticket
}

/** The rules as they are. */
export const REAL_RULES: HistoryRules = {
  newState: (options) => new VersionManagerState(options),
  newStore: () => new MemoryMetadataStore({ verifier: gullible }),
  writerTicket: (ticket) => ticket,
  repairTicket: (ticket) => ticket
}
