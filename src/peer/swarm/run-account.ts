import { ASK_REASONS, type AskReason } from './ask-reason.ts'
import type { WaitReason } from './errors.ts'
import type { ChunkReceivedEvent, ChunkRejectedEvent } from './events.ts'

/** How often something was asked for one reason, and what came of it. */
export interface AskCount {
  readonly requests: number
  readonly chunks: number
  readonly bytes: number
}

/** How a download ended, or that it runs. */
export type RunState =
  | { readonly state: 'running' }
  | { readonly state: 'finished'; readonly endedMs: number }
  | { readonly state: 'failed'; readonly endedMs: number; readonly code: string }

const NOTHING: AskCount = { requests: 0, chunks: 0, bytes: 0 }

/** What one download of an image asked for, got, wasted and waited for. */
export class RunAccount {
  /** Monotonic. */
  readonly startedMs: number
  /** Bytes of right chunks that came, and of those that came for nothing. */
  receivedBytes = 0
  duplicateBytes = 0
  wrongBytes = 0
  /** From the start to the first chunk. */
  firstChunkMs: number | undefined
  ending: RunState = { state: 'running' }
  readonly #asked = new Map<AskReason, AskCount>()
  readonly #atSources = new Map<AskReason, AskCount>()
  readonly #waitedMs = new Map<WaitReason, number>()

  constructor(startedMs: number) {
    this.startedMs = startedMs
  }

  get wastedBytes(): number {
    return this.duplicateBytes + this.wrongBytes
  }

  /** Requests that went out and what came, by reason; reasons that never occurred are left out. */
  asked(): Partial<Record<AskReason, AskCount>> {
    return inOrder(this.#asked)
  }

  /** The same, of sources alone: why they were used. */
  askedAtSources(): Partial<Record<AskReason, AskCount>> {
    return inOrder(this.#atSources)
  }

  /** Milliseconds of waits that have ended, by what was waited for. */
  waited(): Partial<Record<WaitReason, number>> {
    return Object.fromEntries(this.#waitedMs)
  }

  /** A request goes out. */
  ask(reason: AskReason, isSource: boolean): void {
    count(this.#asked, reason, { ...NOTHING, requests: 1 })
    if (isSource) count(this.#atSources, reason, { ...NOTHING, requests: 1 })
  }

  received({ reason, bytes }: ChunkReceivedEvent, isSource: boolean, nowMs: number): void {
    this.firstChunkMs ??= nowMs - this.startedMs
    this.receivedBytes += bytes
    count(this.#asked, reason, { requests: 0, chunks: 1, bytes })
    if (isSource) count(this.#atSources, reason, { requests: 0, chunks: 1, bytes })
  }

  rejected({ reason, bytes }: ChunkRejectedEvent): void {
    if (reason === 'wrong bytes') this.wrongBytes += bytes
    else this.duplicateBytes += bytes
  }

  waitedFor(reason: WaitReason, ms: number): void {
    this.#waitedMs.set(reason, (this.#waitedMs.get(reason) ?? 0) + ms)
  }
}

function count(counts: Map<AskReason, AskCount>, reason: AskReason, more: AskCount): void {
  const { requests, chunks, bytes } = counts.get(reason) ?? NOTHING
  counts.set(reason, {
    requests: requests + more.requests,
    chunks: chunks + more.chunks,
    bytes: bytes + more.bytes
  })
}

function inOrder(counts: ReadonlyMap<AskReason, AskCount>): Partial<Record<AskReason, AskCount>> {
  const known = ASK_REASONS.flatMap((reason): [AskReason, AskCount][] => {
    const one = counts.get(reason)
    return one === undefined ? [] : [[reason, one]]
  })
  return Object.fromEntries(known)
}
