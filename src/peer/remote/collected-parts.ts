import { MalformedError } from '../../lib/errors.ts'

/** A chunk out of its parts. A chunk of one part is not copied. */
export class CollectedParts {
  #bytes: Uint8Array | undefined
  #filled = 0

  /** Whether no part has come. */
  get isEmpty(): boolean {
    return this.#bytes === undefined
  }

  /** The chunk; undefined until all of it is there. */
  get whole(): Uint8Array | undefined {
    return this.#filled === this.#bytes?.byteLength ? this.#bytes : undefined
  }

  /** @throws {MalformedError} if a chunk has begun already. */
  begin(length: number, part: Uint8Array): void {
    if (!this.isEmpty) throw new MalformedError('store answer', 'two chunks for one request')
    this.#bytes = part.byteLength === length ? part : new Uint8Array(length)
    this.add(part)
  }

  /** @throws {MalformedError} if the part belongs to no chunk, or is too long. */
  add(part: Uint8Array): void {
    const bytes = this.#bytes
    if (bytes === undefined || this.#filled + part.byteLength > bytes.byteLength) {
      throw new MalformedError('store answer', 'parts that do not make the chunk')
    }
    if (part !== bytes) bytes.set(part, this.#filled)
    this.#filled += part.byteLength
  }
}
