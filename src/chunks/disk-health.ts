import type { Clock } from '../lib/clock.ts'
import { type FileLayer, writeFully } from '../lib/file-layer.ts'
import type { Logger } from '../lib/logger.ts'

/** How long a disk that took no write is left alone before it is tried again. */
const RETRY_MS = 10_000

export interface DiskHealthComponents {
  readonly files: FileLayer
  readonly log: Logger
  readonly clock: Pick<Clock, 'monotonic'>
}

/**
 * Whether a disk takes writes at present. One that has failed to is tried again now and then, when
 * somebody asks; every write that succeeds proves that it is well.
 */
export class DiskHealth {
  readonly #components: DiskHealthComponents
  readonly #directory: string
  readonly #probePath: string
  #failure: unknown
  #triedMs = 0
  #probe: Promise<void> | undefined

  /** `folder` is one inside `directory` for a small file that is written and removed. */
  constructor(components: DiskHealthComponents, directory: string, folder: string) {
    this.#components = components
    this.#directory = directory
    this.#probePath = `${folder}/probe`
  }

  /** What the last write failed with; undefined if the disk takes writes. */
  get failure(): unknown {
    if (this.#failure !== undefined && this.#probe === undefined) {
      const sinceMs = this.#components.clock.monotonic() - this.#triedMs
      if (sinceMs >= RETRY_MS) this.#probe = this.#tryAgain()
    }
    return this.#failure
  }

  /** A write has failed, and not for lack of room. */
  noteFailure(error: unknown): void {
    this.#triedMs = this.#components.clock.monotonic()
    if (this.#failure === undefined) {
      this.#components.log.error('%s takes no writes: %e', this.#directory, error)
    }
    this.#failure = error
  }

  noteSuccess(): void {
    if (this.#failure === undefined) return
    this.#failure = undefined
    this.#components.log.info('%s takes writes again', this.#directory)
  }

  /** Waits for an attempt that is under way. */
  async stop(): Promise<void> {
    await this.#probe
  }

  async #tryAgain(): Promise<void> {
    const { files } = this.#components
    try {
      const file = await files.open(this.#probePath, 'w')
      try {
        await writeFully(files, file, Buffer.from('probe\n'))
        await files.fsync(file)
      } finally {
        await files.close(file)
      }
      await files.unlink(this.#probePath)
      this.noteSuccess()
    } catch (error) {
      this.noteFailure(error)
    } finally {
      this.#probe = undefined
    }
  }
}
