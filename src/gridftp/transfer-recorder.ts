import { MIB } from '../lib/bytes.ts'
import { errorCode } from '../lib/errors.ts'
import type { Logger } from '../lib/logger.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'
import { toError } from '../lib/to-error.ts'
import { isInternalError } from './replies.ts'

/** What the log says about one transfer. */
export interface TransferSummary {
  readonly verb: string
  readonly user: string
  readonly address: string
  readonly path: string
  readonly direction: 'upload' | 'download'
  /** Directories are listed too often for the log. */
  readonly isListing?: boolean
  readonly bytes: number
  readonly seconds: number
  /** Undefined when it succeeded. */
  readonly error?: unknown
}

/** Writes transfers and logins into the log and counts them. */
export class TransferRecorder {
  readonly #logger: Logger
  readonly #transfers: Counter | undefined
  readonly #bytes: Counter | undefined
  readonly #logins: Counter | undefined

  constructor(logger: Logger, metrics: Metrics | undefined) {
    this.#logger = logger
    this.#transfers = metrics?.counter('blobswarm_gridftp_transfers_total', {
      help: 'Transfers that ended, by direction and outcome',
      labels: ['direction', 'outcome']
    })
    this.#bytes = metrics?.counter('blobswarm_gridftp_data_bytes', {
      help: 'Bytes of files and listings moved over data connections',
      labels: ['direction']
    })
    this.#logins = metrics?.counter('blobswarm_gridftp_logins_total', {
      help: 'Logins by outcome',
      labels: ['outcome']
    })
  }

  /** Counts bytes as they move. */
  moved(direction: 'upload' | 'download', bytes: number): void {
    this.#bytes?.add(bytes, { direction })
  }

  /** Notes the end of a transfer. */
  transferEnded(summary: TransferSummary): void {
    const { verb, user, address, path, direction, bytes, seconds, isListing, error } = summary
    const outcome = error === undefined ? 'done' : 'failed'
    this.#transfers?.add(1, { direction, outcome })
    const rate = seconds > 0 ? bytes / seconds / MIB : 0
    const what = [verb, path, user, address, bytes, seconds.toFixed(3), rate.toFixed(1)]
    const format = '%s %s by %s from %s: %d bytes in %s s, %s MiB/s'
    if (error === undefined) this.#logger[isListing ? 'debug' : 'info'](format, ...what)
    else if (isInternalError(error)) this.#logger.error(`${format}, failed: %e`, ...what, error)
    else this.#logger.info(`${format}, failed: %s`, ...what, describe(error))
  }

  /** Notes a login or a refused one; never the password. */
  loginEnded(name: string, address: string, isSuccess: boolean): void {
    this.#logins?.add(1, { outcome: isSuccess ? 'done' : 'failed' })
    this.#logger.info(`login of %s from %s ${isSuccess ? 'succeeded' : 'refused'}`, name, address)
  }
}

function describe(error: unknown): string {
  return `${errorCode(error) ?? 'error'} ${toError(error).message}`
}
