/** Something that happens to an object of a simulation. */
export interface EventTarget {
  fire(kind: number): void
}

const FIRST_CAPACITY = 1024

/** Virtual time: events in order of time, in order of scheduling among equals. A heap in typed arrays. */
export class EventQueue {
  #times = new Float64Array(FIRST_CAPACITY)
  #orders = new Float64Array(FIRST_CAPACITY)
  #kinds = new Uint8Array(FIRST_CAPACITY)
  readonly #targets: EventTarget[] = []
  #size = 0
  #order = 0
  #nowMs = 0
  #firedCount = 0

  get nowMs(): number {
    return this.#nowMs
  }

  /** Events that have happened. */
  get firedCount(): number {
    return this.#firedCount
  }

  /** Lets `target.fire(kind)` happen at a time that is not past. */
  at(timeMs: number, target: EventTarget, kind: number): void {
    if (this.#size === this.#times.length) this.#grow()
    this.#rise(this.#size++, timeMs, this.#order++, target, kind)
  }

  /** Lets the next event happen. @returns false if there is none until then. */
  step(untilMs: number): boolean {
    const timeMs = this.#times[0] ?? 0
    if (this.#size === 0 || timeMs > untilMs) return false
    const target = this.#targets[0] as EventTarget
    const kind = this.#kinds[0] ?? 0
    this.#nowMs = timeMs
    this.#removeFirst()
    this.#firedCount++
    target.fire(kind)
    return true
  }

  #rise(from: number, timeMs: number, order: number, target: EventTarget, kind: number): void {
    const times = this.#times
    let at = from
    while (at > 0) {
      const parent = (at - 1) >> 2
      if ((times[parent] ?? 0) <= timeMs) break // an equal one was scheduled before
      this.#copy(parent, at)
      at = parent
    }
    this.#put(at, timeMs, order, target, kind)
  }

  #removeFirst(): void {
    const size = --this.#size
    const [times, orders] = [this.#times, this.#orders]
    const timeMs = times[size] ?? 0
    const order = orders[size] ?? 0
    const target = this.#targets[size] as EventTarget
    const kind = this.#kinds[size] ?? 0
    this.#targets.length = size
    if (size === 0) return
    let at = 0
    for (;;) {
      const first = at * 4 + 1
      if (first >= size) break
      const end = Math.min(first + 4, size)
      let least = first
      for (let child = first + 1; child < end; child++) {
        const difference = (times[child] ?? 0) - (times[least] ?? 0)
        if (difference < 0 || (difference === 0 && (orders[child] ?? 0) < (orders[least] ?? 0))) {
          least = child
        }
      }
      const difference = (times[least] ?? 0) - timeMs
      if (difference > 0 || (difference === 0 && (orders[least] ?? 0) > order)) break
      this.#copy(least, at)
      at = least
    }
    this.#put(at, timeMs, order, target, kind)
  }

  #copy(from: number, to: number): void {
    this.#times[to] = this.#times[from] ?? 0
    this.#orders[to] = this.#orders[from] ?? 0
    this.#kinds[to] = this.#kinds[from] ?? 0
    this.#targets[to] = this.#targets[from] as EventTarget
  }

  #put(at: number, timeMs: number, order: number, target: EventTarget, kind: number): void {
    this.#times[at] = timeMs
    this.#orders[at] = order
    this.#kinds[at] = kind
    this.#targets[at] = target
  }

  #grow(): void {
    const capacity = this.#times.length * 2
    const [times, orders, kinds] = [this.#times, this.#orders, this.#kinds]
    this.#times = new Float64Array(capacity)
    this.#times.set(times)
    this.#orders = new Float64Array(capacity)
    this.#orders.set(orders)
    this.#kinds = new Uint8Array(capacity)
    this.#kinds.set(kinds)
  }
}
