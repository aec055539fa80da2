/** An average in which what was long ago counts ever less. */
export class MovingAverage {
  readonly #share: number
  #value: number | undefined

  /** @param span number of values after which an old one counts about a third of what it did. */
  constructor(span: number) {
    if (!(span >= 1)) throw new RangeError(`an average of ${span} values`)
    this.#share = 1 / span
  }

  /** The average; 0 before the first value. */
  get value(): number {
    return this.#value ?? 0
  }

  add(value: number): void {
    this.#value =
      this.#value === undefined ? value : this.value + (value - this.value) * this.#share
  }
}
