const MAX_REQUEST_ID = 0xff_ff_ff_ff

/** One request that waits for its answer. */
export interface PendingRequest {
  reject(error: Error): void
}

/** The requests in flight on one channel, by the number that their answers carry. */
export class PendingRequests<P extends PendingRequest> {
  readonly #pending = new Map<number, P>()
  #nextId = 1
  #failure: Error | undefined

  get size(): number {
    return this.#pending.size
  }

  /** The requests in flight, the oldest first. */
  values(): Iterable<P> {
    return this.#pending.values()
  }

  /**
   * Enters a request under a number that no other has now.
   *
   * @throws {Error} what `failAll` was given, once it was called.
   */
  add(request: P): number {
    if (this.#failure !== undefined) throw this.#failure
    while (this.#pending.has(this.#nextId)) this.#nextId = following(this.#nextId)
    const id = this.#nextId
    this.#nextId = following(id)
    this.#pending.set(id, request)
    return id
  }

  /** undefined for a request that was never made, was answered or was given up. */
  get(id: number): P | undefined {
    return this.#pending.get(id)
  }

  /** Takes a request out. @returns undefined if it is not there (any more). */
  take(id: number): P | undefined {
    const request = this.#pending.get(id)
    this.#pending.delete(id)
    return request
  }

  /** Rejects all that is in flight and whatever is added from now on. */
  failAll(error: Error): void {
    this.#failure ??= error
    const requests = [...this.#pending.values()]
    this.#pending.clear()
    for (const request of requests) request.reject(error)
  }
}

function following(id: number): number {
  return id >= MAX_REQUEST_ID ? 1 : id + 1
}
