import { dirname } from 'node:path'

/**
 * What a process did to its files, in order. A flush counts from its start for what was written before,
 * and only once it is over.
 */
export type FileEvent =
  | {
      readonly kind: 'made' | 'written' | 'removed' | 'flushing' | 'flushed'
      readonly path: string
    }
  | { readonly kind: 'renamed'; readonly path: string; readonly from: string }
  /** Somebody was told that something is durable. */
  | { readonly kind: 'acknowledged'; readonly what: string }

/** An acknowledgement that came too early. */
export interface EarlyAcknowledgement {
  readonly what: string
  /** What was not on the disk yet: `bytes of PATH` or `name of PATH`. */
  readonly unflushed: readonly string[]
}

/**
 * Finds acknowledgements that were given while bytes of a file, or the name of a new file or folder in
 * its folder, were not flushed.
 *
 * @param concerns whether an acknowledgement promises anything about a path.
 */
export function findEarlyAcknowledgements(
  events: Iterable<FileEvent>,
  concerns: (path: string, what: string) => boolean
): EarlyAcknowledgement[] {
  const pending = new PendingFlushes()
  const early: EarlyAcknowledgement[] = []
  for (const event of events) {
    if (event.kind !== 'acknowledged') {
      pending.take(event)
      continue
    }
    const { what } = event
    const unflushed = pending.list((path) => concerns(path, what))
    if (unflushed.length > 0) early.push({ what, unflushed })
  }
  return early
}

/** Changes that are not on the disk, each with the number of the event that made it. */
class PendingFlushes {
  readonly #bytes = new Map<string, number>()
  readonly #names = new Map<string, number>()
  /** When a flush of the path began that may not be over. */
  readonly #flushing = new Map<string, number>()
  readonly #there = new Set<string>()
  #number = 0

  list(isWanted: (path: string) => boolean): string[] {
    return [
      ...[...this.#bytes.keys()].filter(isWanted).map((path) => `bytes of ${path}`),
      ...[...this.#names.keys()].filter(isWanted).map((path) => `name of ${path}`)
    ]
  }

  take(event: Exclude<FileEvent, { kind: 'acknowledged' }>): void {
    const { path } = event
    this.#number++
    switch (event.kind) {
      case 'made':
        this.#made(path)
        break
      case 'written':
        this.#bytes.set(path, this.#number)
        break
      case 'removed':
        this.#forget(path)
        break
      case 'renamed':
        this.#renamed(event.from, path)
        break
      case 'flushing':
        this.#flushing.set(path, this.#number)
        break
      case 'flushed':
      default:
        this.#flushed(path)
    }
  }

  /** Opening to create makes nothing where there is something. */
  #made(path: string): void {
    if (!this.#there.has(path)) this.#names.set(path, this.#number)
    this.#there.add(path)
  }

  #renamed(from: string, path: string): void {
    const written = this.#bytes.get(from)
    this.#forget(from)
    this.#bytes.delete(path)
    if (written !== undefined) this.#bytes.set(path, written)
    this.#names.set(path, this.#number)
    this.#there.add(path)
  }

  /** A name that is gone needs no flush: at worst it is there again after a crash, as before. */
  #forget(path: string): void {
    this.#there.delete(path)
    this.#bytes.delete(path)
    this.#names.delete(path)
  }

  #flushed(path: string): void {
    const begun = this.#flushing.get(path) ?? 0
    if ((this.#bytes.get(path) ?? 0) < begun) this.#bytes.delete(path)
    for (const [name, number] of this.#names) {
      if (dirname(name) === path && number < begun) this.#names.delete(name)
    }
  }
}
