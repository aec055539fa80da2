import { chunksOf, spanFor } from '../../../src/metadata/geometry.ts'
import type { Version, VersionSummary } from '../../../src/metadata/types.ts'
import { applyContent, contentOf, WIRE_CHUNK_BYTES } from './written-content.ts'

/** Replays the writes of one blob in the order of their versions, from nothing but the notes. */
export class BlobReplay {
  #version: Version = 0
  #bytes: Uint8Array = new Uint8Array()
  #span = 1

  get version(): Version {
    return this.#version
  }

  /** What the version must read as. */
  get bytes(): Uint8Array {
    return this.#bytes
  }

  /** Span of the version's tree, in chunks: it only grows. */
  get span(): number {
    return this.#span
  }

  /**
   * Goes on to the next version.
   *
   * @throws {Error} if it is not the next one, or its size is wrong.
   */
  advance({ version, note, bytes }: VersionSummary): void {
    if (version !== this.#version + 1) {
      throw new Error(`version ${version} follows version ${this.#version}`)
    }
    this.#bytes = applyContent(this.#bytes, contentOf(note))
    this.#version = version
    if (this.#bytes.byteLength !== bytes) {
      throw new Error(`version ${version} has ${bytes} bytes, not ${this.#bytes.byteLength}`)
    }
    this.#span = Math.max(this.#span, spanFor(Math.max(1, chunksOf(bytes, WIRE_CHUNK_BYTES))))
  }
}
