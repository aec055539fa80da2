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
 * What a folder contains. Names that can be seen are sorted once for a listing, and what is added
 * afterwards is merged in for the next: so a page of a listing costs its length, and adding many
 * names, in whatever order, costs no more than sorting them.
 */
export class Folder {
  /** Sizes of all files below, as their version manager counts them. */
  bytesBelow = 0
  readonly #entries = new Map<string, Entry>()
  /** Visible names but those in `#added`; undefined while many are being loaded. */
  #sorted: string[] | undefined = []
  readonly #added = new Set<string>()

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
    if (entry.isVisible) this.#added.add(entry.name)
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
    if (this.#sorted === undefined) {
      this.#sorted = Array.from(this.#entries.values())
        .filter(({ isVisible }) => isVisible)
        .map(({ name }) => name)
        .toSorted(compareNames)
      this.#added.clear()
    }
    if (this.#added.size > 0) {
      // Two sorted runs, which are merged in one pass.
      this.#sorted = [...this.#sorted, ...Array.from(this.#added).toSorted(compareNames)].toSorted(
        compareNames
      )
      this.#added.clear()
    }
    return this.#sorted
  }

  #forget(name: string): void {
    if (this.#sorted === undefined || this.#added.delete(name)) return
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
