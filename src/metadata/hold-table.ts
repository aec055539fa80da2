import type { Clock } from '../lib/clock.ts'
import { MetadataLimitError } from './errors.ts'
import type { BlobId, Version, VersionRef } from './types.ts'
import type { HoldRequest } from './version-manager-types.ts'
import type { HoldRemovalRow, HoldRow } from './version-rows.ts'

/** Longest time that a hold lasts without renewal. */
export const MAX_HOLD_MS = 7 * 86_400_000

/** Holds that one peer may have. */
export const MAX_HOLDS_PER_HOLDER = 1024

/** Time that holders have after a start. */
const RESTART_GRACE_MS = 900_000

const MAX_HOLDER_BYTES = 128
const MAX_PURPOSE_BYTES = 1024

/** Names a hold. */
export type HoldName = Omit<HoldRequest, 'forMs'>

interface Hold {
  readonly row: HoldRow
  /** When it ends, on the monotonic clock: a clock that is set neither ends nor prolongs it. */
  readonly endMs: number
}

/**
 * Who keeps which versions from collection, and until when. A hold that has run out cannot be
 * renewed any more where a new one would be refused, but it keeps its version until it is removed,
 * so that no restart can bring it back after something was collected.
 */
export class HoldTable {
  readonly #clock: Pick<Clock, 'now' | 'monotonic'>
  readonly #byBlob = new Map<string, Map<string, Hold>>()
  readonly #byHolder = new Map<string, Map<string, Hold>>()

  constructor(clock: Pick<Clock, 'now' | 'monotonic'>) {
    this.#clock = clock
  }

  /**
   * Takes a row of an earlier run. The hold lasts no longer than if it had just been renewed, and
   * long enough for its holder, who could not renew it meanwhile, to do so.
   */
  load(row: HoldRow): void {
    const leastMs = Math.min(row.forMs, RESTART_GRACE_MS)
    const leftMs = Math.max(leastMs, Math.min(row.untilMs - this.#clock.now(), row.forMs))
    this.#put({ row, endMs: this.#clock.monotonic() + leftMs })
  }

  /**
   * Begins a hold or renews it. Whether there may be one is for the caller to know.
   *
   * @returns its row, and those of holds of the same holder that have run out.
   * @throws {RangeError | MetadataLimitError}
   */
  hold(request: HoldRequest): [HoldRow, ...HoldRemovalRow[]] {
    checkHold(request)
    const { blob, version, holder, purpose, forMs } = request
    const ended = this.#ended(this.#byHolder.get(holder)).map((row) => this.#drop(row))
    const held = this.#byHolder.get(holder)
    const count = (held?.size ?? 0) + (held?.has(nameOf(request)) === true ? 0 : 1)
    if (count > MAX_HOLDS_PER_HOLDER) {
      throw new MetadataLimitError('holds of one peer', count, MAX_HOLDS_PER_HOLDER)
    }
    const untilMs = this.#clock.now() + forMs
    const row: HoldRow = { kind: 'hold', blob, version, holder, purpose, forMs, untilMs }
    this.#put({ row, endMs: this.#clock.monotonic() + forMs })
    return [row, ...ended.filter((removal) => nameOf(removal) !== nameOf(row))]
  }

  /** Ends a hold, if there is one. */
  release(name: HoldName): HoldRemovalRow[] {
    return this.#byHolder.get(name.holder)?.has(nameOf(name)) === true ? [this.#drop(name)] : []
  }

  /** Removes what has run out. */
  dropEnded(): HoldRemovalRow[] {
    const ended = Array.from(this.#byHolder.values(), (holds) => this.#ended(holds)).flat()
    return ended.map((row) => this.#drop(row))
  }

  /** Versions of a blob that somebody holds, also where that has run out and is not removed yet. */
  keptVersions(blob: BlobId): ReadonlySet<Version> {
    return new Set(Array.from(this.#byBlob.get(blob)?.values() ?? [], ({ row }) => row.version))
  }

  /** Tells whether somebody holds the version now. */
  isHeld({ blob, version }: VersionRef): boolean {
    const nowMs = this.#clock.monotonic()
    for (const { row, endMs } of this.#byBlob.get(blob)?.values() ?? []) {
      if (row.version === version && endMs > nowMs) return true
    }
    return false
  }

  #ended(holds: ReadonlyMap<string, Hold> | undefined): HoldRow[] {
    const nowMs = this.#clock.monotonic()
    return Array.from(holds?.values() ?? [])
      .filter(({ endMs }) => endMs <= nowMs)
      .map(({ row }) => row)
  }

  #put(hold: Hold): void {
    const name = nameOf(hold.row)
    inner(this.#byBlob, hold.row.blob).set(name, hold)
    inner(this.#byHolder, hold.row.holder).set(name, hold)
  }

  #drop({ blob, version, holder, purpose }: HoldName): HoldRemovalRow {
    const row: HoldRemovalRow = { kind: 'hold-removal', blob, version, holder, purpose }
    for (const [index, key] of [
      [this.#byBlob, blob],
      [this.#byHolder, holder]
    ] as const) {
      index.get(key)?.delete(nameOf(row))
      if (index.get(key)?.size === 0) index.delete(key)
    }
    return row
  }
}

function checkHold({ holder, purpose, forMs }: HoldRequest): void {
  if (!Number.isSafeInteger(forMs) || forMs < 1 || forMs > MAX_HOLD_MS) {
    throw new RangeError(`a hold for ${forMs} ms, at most ${MAX_HOLD_MS}`)
  }
  const texts = [
    ['a holder', holder, MAX_HOLDER_BYTES],
    ['a purpose', purpose, MAX_PURPOSE_BYTES]
  ] as const
  for (const [what, text, maxBytes] of texts) {
    if (text === '' || !text.isWellFormed() || Buffer.byteLength(text) > maxBytes) {
      throw new RangeError(`${what} without a name, or with one that is too long or not Unicode`)
    }
  }
}

function inner(index: Map<string, Map<string, Hold>>, key: string): Map<string, Hold> {
  const known = index.get(key)
  if (known !== undefined) return known
  const made = new Map<string, Hold>()
  index.set(key, made)
  return made
}

function nameOf({ blob, version, holder, purpose }: HoldName): string {
  return JSON.stringify([holder, purpose, blob, version])
}
