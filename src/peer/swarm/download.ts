import type { AbortOptions } from '../../lib/abort-options.ts'
import { abortable } from '../../lib/abortable.ts'
import type { Clock } from '../../lib/clock.ts'
import { errorCode, LimitExceededError, NotRunningError } from '../../lib/errors.ts'
import { anySignal } from '../../lib/signals.ts'
import { toError } from '../../lib/to-error.ts'
import type { RequestClass } from '../protocols/swarm.ts'
import type { DownloadProgress, TakeChunk } from './download-types.ts'
import type { DownloadFinishedEvent } from './events.ts'
import { etaOf } from './image-summary.ts'
import type { RunAccount } from './run-account.ts'
import type { ImageSession } from './session.ts'

export interface DownloadOptions extends AbortOptions {
  /** Agents that are known to have chunks of the image, such as its providers. @default [] */
  readonly sources?: readonly string[]
  /** Called a few times a second, and once at the end. */
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined
  /**
   * Given each chunk that comes, while it is being stored. The array is good until what it returns has
   * resolved, which may not reject.
   */
  readonly onArrived?: TakeChunk | undefined
  /** Called for each different chunk that is held already, and for each as soon as it is stored; chunks of zeros apart. */
  readonly onHeld?: ((chunk: number) => void) | undefined
}

/** What a finished download did. */
export interface DownloadResult extends DownloadProgress {
  readonly elapsedMs: number
}

interface Running {
  readonly done: Promise<void>
  readonly controller: AbortController
  readonly startedMs: number
  users: number
}

/** The download of one image, shared by all who asked for it. */
export class ImageDownload {
  readonly #session: ImageSession
  readonly #clock: Clock
  #running: Running | undefined

  constructor(session: ImageSession, components: { readonly clock: Clock }) {
    this.#session = session
    this.#clock = components.clock
  }

  /** Fetches what is missing, or waits for the download that runs. It ends when all callers gave up. */
  async join(options: DownloadOptions): Promise<DownloadResult> {
    const { signal, onProgress, onArrived, onHeld = () => {}, sources = [] } = options
    // One that all gave up fails for them alone: it ends first.
    while (this.#running?.controller.signal.aborted === true) {
      await abortable(
        this.#running.done.catch(() => {}),
        signal
      )
    }
    this.#running ??= this.#start()
    const running = this.#running
    running.users++
    this.#session.look(sources)
    const stopListening = this.#session.onTick(() => onProgress?.(this.progress))
    const stopHearing = this.#session.holdings.listen(onHeld)
    if (onArrived !== undefined) this.#session.takers.add(onArrived)
    try {
      await abortable(running.done, signal)
    } finally {
      stopListening()
      stopHearing()
      if (onArrived !== undefined) this.#session.takers.delete(onArrived)
      running.users--
      if (running.users === 0) {
        running.controller.abort(signal?.reason)
        await running.done.catch(() => {}) // told to whoever waited for it
      }
    }
    const { progress } = this
    onProgress?.(progress)
    return { ...progress, elapsedMs: this.#clock.monotonic() - running.startedMs }
  }

  /** Asks for chunks first and waits until they are stored. */
  async want(
    chunks: readonly number[],
    requestClass: RequestClass,
    options: AbortOptions
  ): Promise<void> {
    const { table, holdings, downloader } = this.#session
    const firsts = new Set(chunks.map((chunk) => table.firstOf(chunk)))
    const missing = Array.from(firsts).filter(
      (chunk) => chunk !== undefined && !holdings.has(chunk)
    )
    const wanted = missing.filter((chunk) => chunk !== undefined)
    if (wanted.length === 0) return
    const running = this.#running
    if (running === undefined || downloader === undefined) {
      throw new NotRunningError(`the download of ${this.#session.image.slice(0, 16)}`)
    }
    if (!downloader.prioritise(wanted, requestClass)) {
      throw new LimitExceededError('chunks asked for first', wanted.length)
    }
    const ended = new AbortController()
    const signal = anySignal([options.signal, ended.signal])
    const stored = Promise.all(
      wanted.map(async (chunk) => downloader.whenStored(chunk, { signal }))
    )
    try {
      await Promise.race([stored, running.done])
      await stored
    } finally {
      ended.abort(new NotRunningError('the download'))
      await stored.catch(() => {}) // what it failed with was thrown above
    }
  }

  /** How far the download is, or was. */
  get progress(): DownloadProgress {
    const { holdings, table, downloader, neighbours } = this.#session
    const { fromProviders = 0, fromPeers = 0 } = downloader?.counts ?? {}
    const ratePerSecond = downloader?.ratePerSecond ?? 0
    const etaMs = etaOf(this.#session, ratePerSecond)
    const wait = downloader?.wait
    return {
      bytesFromProviders: fromProviders,
      bytesFromPeers: fromPeers,
      bytesReused: holdings.bytes - table.zeroBytes - fromProviders - fromPeers,
      zeroBytes: table.zeroBytes,
      chunksDone: holdings.chunks,
      chunksTotal: table.count,
      ratePerSecond,
      ...(etaMs === undefined ? {} : { etaMs }),
      neighbours: neighbours.size,
      ...(wait === undefined ? {} : { wait })
    }
  }

  #start(): Running {
    const controller = new AbortController()
    const startedMs = this.#clock.monotonic()
    const done = this.#fetch(controller.signal, startedMs).finally(() => {
      this.#running = undefined
    })
    done.catch(() => {}) // told to whoever waits for it
    return { done, controller, startedMs, users: 0 }
  }

  async #fetch(signal: AbortSignal, startedMs: number): Promise<void> {
    const { image, table, holdings, accounts } = this.#session
    const { bytes, chunkCount: chunks } = table.manifest
    const held = holdings.chunks
    accounts.emit({ event: 'download-started', image, bytes, chunks, held })
    try {
      await this.#session.fetchAll({ signal })
    } catch (thrown) {
      const code = errorCode(thrown) ?? toError(thrown).name
      const ms = Math.round(this.#clock.monotonic() - startedMs)
      accounts.emit({ event: 'download-failed', image, code, ms })
      throw thrown
    }
    const { bytesFromProviders, bytesFromPeers, bytesReused, zeroBytes } = this.progress
    const counts = { bytesFromProviders, bytesFromPeers, bytesReused, zeroBytes }
    const ms = Math.round(this.#clock.monotonic() - startedMs)
    accounts.emit({ event: 'download-finished', image, ms, ...counts, ...costsOf(accounts.run) })
  }
}

function costsOf(run: RunAccount | undefined) {
  const { wastedBytes = 0, firstChunkMs } = run ?? {}
  const asked = Object.entries(run?.asked() ?? {}).map(([reason, { requests }]) => [
    reason,
    requests
  ])
  return {
    wastedBytes,
    asked: Object.fromEntries(asked) as DownloadFinishedEvent['asked'],
    ...(firstChunkMs === undefined ? {} : { firstChunkMs: Math.round(firstChunkMs) })
  }
}
