/**
 * Things that are there for now, by where they come from. When they are too many, it is the place that
 * most are from that has to part with one: a flood from one address crowds out itself, not others.
 */
export class Crowd<T> {
  /** Items of each origin in order of arrival. */
  readonly #byOrigin = new Map<string, Set<T>>()
  #size = 0

  get size(): number {
    return this.#size
  }

  /** Notes an item that has come; harmless if it is there. */
  add(origin: string, item: T): void {
    const items = this.#byOrigin.get(origin) ?? new Set()
    if (items.has(item)) return
    this.#byOrigin.set(origin, items.add(item))
    this.#size++
  }

  /** Forgets an item that has gone; harmless if it is not there. */
  delete(origin: string, item: T): void {
    const items = this.#byOrigin.get(origin)
    if (items?.delete(item) !== true) return
    this.#size--
    if (items.size === 0) this.#byOrigin.delete(origin)
  }

  has(origin: string, item: T): boolean {
    return this.#byOrigin.get(origin)?.has(item) === true
  }

  /** The item that has been there longest, of the origin that most are from. Looks at all origins. */
  get eldestOfMost(): T | undefined {
    let most: ReadonlySet<T> = new Set()
    for (const items of this.#byOrigin.values()) if (items.size > most.size) most = items
    const [eldest] = most
    return eldest
  }
}
