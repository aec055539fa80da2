import { KIB, MIB } from '../../lib/bytes.ts'

export interface PatienceOptions {
  /** Nothing has come for this long: sources may be asked for chunks that have spread. @default 500 ms */
  readonly patienceMs?: number
  /** Bytes that sources may be asked for each time that patience ends; doubles while nobody else helps. @default 512 KiB */
  readonly secondCopyBytes?: number
}

const MAX_PATIENCE_MS = 3000
const MAX_SECOND_COPY_BYTES = 64 * MIB
// Patience lasts at least as long as this many chunks usually take.
const USUAL_CHUNKS = 4

/**
 * Says when a source may be asked for what it has sent to somebody else already: when nothing arrives,
 * in doses that grow as long as no other neighbour gives anything.
 */
export class Patience {
  readonly #patienceMs: number
  readonly #firstDoseBytes: number
  #arrivedMs = 0
  #allowedBytes = 0
  #doseBytes: number

  constructor(options: PatienceOptions = {}) {
    const { patienceMs = 500, secondCopyBytes = 512 * KIB } = options
    this.#patienceMs = patienceMs
    this.#firstDoseBytes = secondCopyBytes
    this.#doseBytes = secondCopyBytes
  }

  /** A source may be asked for more of what has spread. */
  get isOver(): boolean {
    return this.#allowedBytes > 0
  }

  /** Begins to count anew. */
  begin(nowMs: number): void {
    this.#arrivedMs = nowMs
    this.#allowedBytes = 0
    this.#doseBytes = this.#firstDoseBytes
  }

  /** Something came, from a source or from somebody else. */
  arrived(isFromSource: boolean, nowMs: number): void {
    if (isFromSource) this.#arrivedMs = nowMs
    else this.begin(nowMs)
  }

  /** A source was asked for bytes that have spread. */
  spend(bytes: number): void {
    this.#allowedBytes -= bytes
  }

  /** Looks at the time; `chunksPerSecond` is what came of late. */
  tick(nowMs: number, chunksPerSecond: number): void {
    const usualMs = chunksPerSecond > 0 ? (USUAL_CHUNKS * 1000) / chunksPerSecond : 0
    const patienceMs = Math.min(Math.max(this.#patienceMs, usualMs), MAX_PATIENCE_MS)
    if (nowMs - this.#arrivedMs <= patienceMs) return
    this.#arrivedMs = nowMs
    this.#allowedBytes = this.#doseBytes
    this.#doseBytes = Math.min(this.#doseBytes * 2, MAX_SECOND_COPY_BYTES)
  }
}
