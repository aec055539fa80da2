/** Something that happens to an object of a simulation. */
export interface EventTarget {
  fire(kind: number): void
}

const FIRST_CAPACITY = 1024
const BUCKETS_PER_MS = 256
const BUCKETS = 2 ** 18
const NONE = -1
// So many events are sorted by insertion: they are nearly in order as a rule.
const FEW = 48

/**
 * Virtual time: events in order of time, and in order of scheduling among equals that are scheduled less
 * than half a second ahead. A calendar in typed arrays: a bucket for each 256th of a millisecond of the
 * next second, sorted when its time comes; what is further off waits apart. An event costs O(1) however
 * many wait.
 */
export class EventQueue {
  #times = new Float64Array(FIRST_CAPACITY)
  /** The next in the same bucket, or the next that is free. */
  #nexts = new Int32Array(FIRST_CAPACITY)
  #kinds = new Uint8Array(FIRST_CAPACITY)
  readonly #targets: (EventTarget | undefined)[] = []
  #free = NONE
  /** Each bucket's newest event. */
  readonly #buckets = new Int32Array(BUCKETS).fill(NONE)
  /** Events further off than the buckets reach. */
  #far = NONE
  /** Number of the bucket that is being emptied, since time 0. */
  #bucket = 0
  /** Its events in order, and those that came to it since; the next one is at `#activeAt`. */
  #active = new Int32Array(FIRST_CAPACITY)
  #activeAt = 0
  #activeEnd = 0
  #size = 0
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
    const event = this.#take()
    this.#times[event] = timeMs
    this.#kinds[event] = kind
    this.#targets[event] = target
    this.#size++
    this.#place(event, Math.floor(timeMs * BUCKETS_PER_MS))
  }

  /** Lets the next event happen. @returns false if there is none until then. */
  step(untilMs: number): boolean {
    while (this.#activeAt === this.#activeEnd) {
      if (this.#size === 0 || (this.#bucket + 1) / BUCKETS_PER_MS > untilMs) return false
      this.#nextBucket()
    }
    const event = this.#active[this.#activeAt] ?? 0
    const timeMs = this.#times[event] ?? 0
    if (timeMs > untilMs) return false
    const target = this.#targets[event]
    const kind = this.#kinds[event] ?? 0
    this.#activeAt++
    this.#size--
    this.#nexts[event] = this.#free
    this.#free = event
    this.#nowMs = timeMs
    this.#firedCount++
    target?.fire(kind)
    return true
  }

  #place(event: number, bucket: number): void {
    if (bucket <= this.#bucket) this.#activate(event)
    else if (bucket - this.#bucket < BUCKETS) {
      const at = bucket % BUCKETS
      this.#nexts[event] = this.#buckets[at] ?? NONE
      this.#buckets[at] = event
    } else {
      this.#nexts[event] = this.#far
      this.#far = event
    }
  }

  /** Puts an event among those of the bucket that is being emptied. */
  #activate(event: number): void {
    if (this.#activeEnd === this.#active.length) this.#growActive()
    let at = this.#activeEnd++
    while (at > this.#activeAt && this.#isBefore(event, this.#active[at - 1] ?? 0)) {
      this.#active[at] = this.#active[at - 1] ?? 0
      at--
    }
    this.#active[at] = event
  }

  #nextBucket(): void {
    this.#bucket++
    if (this.#bucket % (BUCKETS / 2) === 0) this.#callFar()
    const at = this.#bucket % BUCKETS
    let event = this.#buckets[at] ?? NONE
    if (event === NONE) return
    this.#buckets[at] = NONE
    this.#activeAt = 0
    this.#activeEnd = 0
    for (; event !== NONE; event = this.#nexts[event] ?? NONE) {
      if (this.#activeEnd === this.#active.length) this.#growActive()
      this.#active[this.#activeEnd++] = event
    }
    if (this.#activeEnd > 1) this.#sortActive()
  }

  /** The newest came first; among equals the oldest is to be first. */
  #sortActive(): void {
    const active = this.#active
    const end = this.#activeEnd
    for (let near = 0, far = end - 1; near < far; near++, far--) {
      const event = active[near] ?? 0
      active[near] = active[far] ?? 0
      active[far] = event
    }
    if (end > FEW) {
      const times = this.#times
      active.subarray(0, end).sort((a, b) => (times[a] ?? 0) - (times[b] ?? 0))
      return
    }
    for (let next = 1; next < end; next++) {
      const event = active[next] ?? 0
      let at = next
      while (at > 0 && this.#isBefore(event, active[at - 1] ?? 0)) {
        active[at] = active[at - 1] ?? 0
        at--
      }
      active[at] = event
    }
  }

  /** Puts those into buckets that are near enough by now. */
  #callFar(): void {
    let event = this.#far
    this.#far = NONE
    while (event !== NONE) {
      const next = this.#nexts[event] ?? NONE
      this.#place(event, Math.floor((this.#times[event] ?? 0) * BUCKETS_PER_MS))
      event = next
    }
  }

  #isBefore(one: number, other: number): boolean {
    return (this.#times[one] ?? 0) < (this.#times[other] ?? 0)
  }

  #take(): number {
    const event = this.#free
    if (event === NONE) {
      if (this.#targets.length === this.#times.length) this.#grow()
      return this.#targets.push(undefined) - 1
    }
    this.#free = this.#nexts[event] ?? NONE
    return event
  }

  #grow(): void {
    const capacity = this.#times.length * 2
    const [times, nexts, kinds] = [this.#times, this.#nexts, this.#kinds]
    this.#times = new Float64Array(capacity)
    this.#times.set(times)
    this.#nexts = new Int32Array(capacity)
    this.#nexts.set(nexts)
    this.#kinds = new Uint8Array(capacity)
    this.#kinds.set(kinds)
  }

  #growActive(): void {
    const active = this.#active
    this.#active = new Int32Array(active.length * 2)
    this.#active.set(active)
  }
}
