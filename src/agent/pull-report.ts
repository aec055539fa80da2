import type { Cancel, Clock } from '../lib/clock.ts'
import { errorCode } from '../lib/errors.ts'
import type { EventLog } from '../lib/events.ts'
import { toError } from '../lib/to-error.ts'
import type { SwarmEvent } from '../peer/swarm/events.ts'
import type { LongOptions } from './operations.ts'

/** What pulls and prefetches tell tools, beside the events of the swarm; `image` is the manifest root. */
export type PullEvent =
  | { readonly event: 'pull-started'; readonly kind: PullKind; readonly ref: string }
  | {
      readonly event: 'manifest-loaded'
      readonly ref: string
      readonly image: string
      readonly bytes: number
      readonly chunks: number
      /** Since the start. */
      readonly ms: number
    }
  | {
      readonly event: 'pull-finished'
      readonly kind: PullKind
      readonly ref: string
      readonly image: string
      readonly bytes: number
      /** From the start until the file, if there is one, was flushed under its name. */
      readonly ms: number
    }
  | {
      readonly event: 'pull-failed'
      readonly kind: PullKind
      readonly ref: string
      readonly code: string
      readonly ms: number
      /** What it was doing. */
      readonly step: PullStep
    }

/** Everything that the agent writes into its file of events. */
export type AgentEvent = SwarmEvent | PullEvent

export type PullKind = 'pull' | 'prefetch'

/** What a pull waits for before its chunks move, and where it is after that. */
export type PullStep =
  | 'version record'
  | 'manifest pages'
  | 'location records'
  | 'room in the cache'
  | 'transfer'

export interface PullReportComponents {
  readonly clock: Clock
  readonly events: EventLog<PullEvent>
}

// A wait shorter than this has no name; a longer one is told again as often.
const TELL_MS = 1000

/**
 * Reports what a pull does around the transfer: events for tools, and for who asked the name of every
 * wait that takes a second or more.
 */
export class PullReport {
  readonly #components: PullReportComponents
  readonly #kind: PullKind
  readonly #ref: string
  readonly #onProgress: NonNullable<LongOptions['onProgress']>
  readonly #startedMs: number
  #step: PullStep = 'version record'
  #stepSinceMs: number
  #opened = { image: '', bytes: 0 }
  #cancel: Cancel = () => {}

  constructor(
    components: PullReportComponents,
    { kind, ref }: { readonly kind: PullKind; readonly ref: string },
    onProgress: LongOptions['onProgress'] = () => {}
  ) {
    this.#components = components
    this.#kind = kind
    this.#ref = ref
    this.#onProgress = onProgress
    this.#startedMs = components.clock.monotonic()
    this.#stepSinceMs = this.#startedMs
    components.events.emit({ event: 'pull-started', kind, ref })
    this.#tellLater()
  }

  /** The pull goes on to its next step. */
  enter(step: PullStep): void {
    this.#step = step
    this.#stepSinceMs = this.#components.clock.monotonic()
    this.#cancel()
    if (step !== 'transfer') this.#tellLater() // the transfer tells its progress itself
  }

  /** Record and manifest are there. */
  opened(about: { readonly image: string; readonly bytes: number; readonly chunks: number }): void {
    const { image, bytes, chunks } = about
    this.#opened = { image, bytes }
    const loaded = { ref: this.#ref, image, bytes, chunks, ms: this.#ms }
    this.#components.events.emit({ event: 'manifest-loaded', ...loaded })
  }

  finished(): void {
    this.#cancel()
    const about = { kind: this.#kind, ref: this.#ref, ...this.#opened }
    this.#components.events.emit({ event: 'pull-finished', ...about, ms: this.#ms })
  }

  failed(thrown: unknown): void {
    this.#cancel()
    const code = errorCode(thrown) ?? toError(thrown).name
    const about = { kind: this.#kind, ref: this.#ref, code, step: this.#step }
    this.#components.events.emit({ event: 'pull-failed', ...about, ms: this.#ms })
  }

  get #ms(): number {
    return Math.round(this.#components.clock.monotonic() - this.#startedMs)
  }

  #tellLater(): void {
    this.#cancel = this.#components.clock.schedule(() => this.#tell(), TELL_MS)
  }

  #tell(): void {
    const waitedMs = this.#components.clock.monotonic() - this.#stepSinceMs
    this.#onProgress({
      phase: 'opening',
      doneBytes: 0,
      totalBytes: this.#opened.bytes,
      waitingFor: this.#step,
      waitedSeconds: Math.round(waitedMs / 100) / 10
    })
    this.#tellLater()
  }
}
