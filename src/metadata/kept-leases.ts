import { DEFAULT_LEASE_MS } from '../chunks/lease-table.ts'
import type { ChunkWriter } from '../chunks/replica-types.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import type { KeptUpload } from './kept-upload.ts'
import { locateLeaves } from './located-leaves.ts'
import type { UploadJournal } from './upload-journal.ts'

export interface KeptLeasesComponents {
  readonly journal: Pick<UploadJournal, 'pages'>
  readonly writer: Pick<ChunkWriter, 'locate'>
  readonly clock: Clock
  readonly logger: Logger
  /** Broken uploads that wait now. */
  readonly uploads: () => readonly KeptUpload[]
  /** Told that an upload cannot be continued any more. */
  readonly onLost: (upload: KeptUpload, reason: string) => void
}

export interface KeptLeasesOptions {
  /** How long providers keep what nothing refers to yet, in milliseconds. @default 900_000 */
  readonly leaseMs?: number | undefined
}

/**
 * Keeps the chunks of broken uploads from collection: asks their providers whether they have them,
 * every third of a lease, one page of an upload after the other. Where somebody does not answer it
 * asks again soon, and then less and less often.
 */
export class KeptLeases {
  readonly #components: KeptLeasesComponents
  readonly #leaseMs: number
  readonly #stopped = new AbortController()
  #cancel: Cancel = () => {}
  #round: Promise<void> = Promise.resolve()
  /** Rounds since the last one in which everybody had answered. */
  #unconfirmed = 0

  constructor(components: KeptLeasesComponents, options: KeptLeasesOptions = {}) {
    const { leaseMs = DEFAULT_LEASE_MS } = options
    this.#components = components
    this.#leaseMs = leaseMs
  }

  /** Renews at once, because nobody knows for how long nobody did, and then regularly. */
  start(): void {
    this.#begin()
  }

  /** Resolves when what is asked now has been answered. */
  async settled(): Promise<void> {
    await this.#round
  }

  /** Resolves when nothing is asked any more. */
  async stop(): Promise<void> {
    this.#cancel()
    this.#stopped.abort(new Error('the agent stops'))
    await this.#round
  }

  readonly #begin = (): void => {
    this.#round = this.#runRound()
  }

  async #runRound(): Promise<void> {
    const { clock } = this.#components
    const beganMs = clock.monotonic()
    const isConfirmed = await this.#renewAll()
    if (this.#stopped.signal.aborted) return
    this.#unconfirmed = isConfirmed ? 0 : this.#unconfirmed + 1
    // Soon at first; a provider that is gone for good is not asked about all the time.
    const soonMs = (this.#leaseMs / 60) * 2 ** Math.min(this.#unconfirmed - 1, 10)
    const everyMs = Math.min(this.#leaseMs / 3, isConfirmed ? Infinity : soonMs)
    const tookMs = clock.monotonic() - beganMs
    this.#cancel = clock.schedule(this.#begin, Math.max(this.#leaseMs / 60, everyMs - tookMs))
  }

  /** @returns false if something could not be asked. Does not reject. */
  async #renewAll(): Promise<boolean> {
    const { uploads, logger } = this.#components
    let isConfirmed = true
    for (const upload of uploads()) {
      try {
        if (upload.state === 'kept' && !(await this.#renew(upload))) isConfirmed = false
      } catch (error) {
        if (this.#stopped.signal.aborted) return false
        logger.info('leases of the broken upload of %s: %e', upload.path, error)
        isConfirmed = false
      }
    }
    return isConfirmed
  }

  async #renew(upload: KeptUpload): Promise<boolean> {
    const { journal, writer, onLost } = this.#components
    const { signal } = this.#stopped
    let isConfirmed = true
    for await (const page of journal.pages(upload.id)) {
      if (upload.state !== 'kept') return true // somebody continues it, or it is gone
      const { missing, isAnybodySilent } = await locateLeaves(writer, page, { signal })
      if (missing.length === 0) continue
      if (!isAnybodySilent) {
        onLost(upload, `${missing.length} chunks of it are nowhere any more`)
        return true
      }
      isConfirmed = false
    }
    return isConfirmed
  }
}
