import type { EntryRow } from './version-rows.ts'

/** A file or folder of the namespace, in memory. */
export interface Entry extends EntryRow {
  /** What is in it; undefined for a file. */
  readonly folder: Folder | undefined
}

/**
 * Compares names by their code points, which is also the order of their UTF-8 bytes. Plain `<`
 * compares code units and puts emoji before U+E000.
 */
export function compareNames(left: string, right: string): number {
  const shorter = Math.min(left.length, right.length)
  for (let at = 0; at < shorter; at++) {
    const a = left.charCodeAt(at)
    const b = right.charCodeAt(at)
    if (a !== b) return rank(a) - rank(b)
  }
  return left.length - right.length
}

/** Ranks surrogates above all other code units. */
function rank(unit: number): number {
  return unit >= 0xd8_00 && unit <= 0xdf_ff ? unit + 0x1_00_00 : unit
}

/**
 * What a folder contains. Names that can be seen are kept sorted, so a page of a listing costs
 * its length.
 */
export class Folder {
  readonly #entries = new Map<string, Entry>()
  /** Visible names; undefined while many are being added. */
  #sorted: string[] | undefined = []

  get visibleCount(): number {
    return this.#names().length
  }

  /** True if there is nothing in it, seen or not. */
  get isEmpty(): boolean {
    return this.#entries.size === 0
  }

  get(name: string): Entry | undefined {
    return this.#entries.get(name)
  }

  /** Adds an entry or takes the place of one with the same name. */
  set(entry: Entry): void {
    const wasVisible = this.#entries.get(entry.name)?.isVisible === true
    this.#entries.set(entry.name, entry)
    if (entry.isVisible === wasVisible || this.#sorted === undefined) return
    if (entry.isVisible) this.#sorted.splice(this.#firstAbove(entry.name), 0, entry.name)
    else this.#forget(entry.name)
  }

  delete(name: string): void {
    const wasVisible = this.#entries.get(name)?.isVisible === true
    this.#entries.delete(name)
    if (wasVisible) this.#forget(name)
  }

  /** Adds an entry without sorting yet, for loading many. */
  load(entry: Entry): void {
    this.#entries.set(entry.name, entry)
    this.#sorted = undefined
  }

  /** All entries, hidden ones too, in no order. */
  entries(): Iterable<Entry> {
    return this.#entries.values()
  }

  /** @yields visible entries with names above `after`, in order. */
  *listAfter(after: string | undefined): Generator<Entry> {
    const names = this.#names()
    const from = after === undefined ? 0 : this.#firstAbove(after)
    for (let at = from; at < names.length; at++) {
      const entry = this.#entries.get(names[at] ?? '')
      if (entry !== undefined) yield entry
    }
  }

  #names(): string[] {
    this.#sorted ??= Array.from(this.#entries.values())
      .filter(({ isVisible }) => isVisible)
      .map(({ name }) => name)
      .toSorted(compareNames)
    return this.#sorted
  }

  #forget(name: string): void {
    if (this.#sorted === undefined) return
    const at = this.#firstAbove(name) - 1
    if (this.#sorted[at] === name) this.#sorted.splice(at, 1)
  }

  /** Place of the first name above `name`. */
  #firstAbove(name: string): number {
    const names = this.#names()
    let low = 0
    let high = names.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (compareNames(names[middle] ?? '', name) > 0) high = middle
      else low = middle + 1
    }
    return low
  }
}
