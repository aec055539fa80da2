import { MIB } from '../lib/bytes.ts'
import { errorCode } from '../lib/errors.ts'
import type { Logger } from '../lib/logger.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'
import { toError } from '../lib/to-error.ts'
import { isInternalError } from './replies.ts'
import type { TransferMode } from './types.ts'

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
  readonly mode: TransferMode
  /** Data connections that carried it. */
  readonly connections: number
  /** What an upload became, where the storage has versions. */
  readonly version?: number | undefined
  /** Undefined when it succeeded. */
  readonly error?: unknown
}

/** What a server turns away, as its metric names it. */
export type RefusedConnection =
  | 'session'
  | 'sessionOfAddress'
  | 'stranger'
  | 'dataConnection'
  | 'passivePort'

/** What anybody may write into the log without being known. */
const MAX_NAME_LENGTH = 64

/** Writes transfers and logins into the log and counts them. */
export class TransferRecorder {
  readonly #logger: Logger
  readonly #transfers: Counter | undefined
  readonly #bytes: Counter | undefined
  readonly #logins: Counter | undefined
  readonly #refusals: Counter | undefined

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
    this.#refusals = metrics?.counter('blobswarm_gridftp_refusals_total', {
      help: 'What was turned away: sessions beyond a limit, strangers on data ports, …',
      labels: ['what']
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
    const how = `mode ${summary.mode}, ${connectionsOf(summary)}`
    const became = summary.version === undefined ? '' : `, version ${summary.version}`
    const format = `%s %s by %s from %s: %d bytes in %s s, %s MiB/s, ${how}${became}`
    if (error === undefined) this.#logger[isListing ? 'debug' : 'info'](format, ...what)
    else if (isInternalError(error)) this.#logger.error(`${format}, failed: %e`, ...what, error)
    else this.#logger.info(`${format}, failed: %s`, ...what, describe(error))
  }

  /** Counts what was turned away; whoever does it writes the line for the log. */
  refused(what: RefusedConnection): void {
    this.#refusals?.add(1, { what })
  }

  /** Notes a login or a refused one; never the password. */
  loginEnded(name: string, address: string, isSuccess: boolean): void {
    this.#logins?.add(1, { outcome: isSuccess ? 'done' : 'failed' })
    const outcome = isSuccess ? 'succeeded' : 'refused'
    this.#logger.info(`login of %s from %s ${outcome}`, name.slice(0, MAX_NAME_LENGTH), address)
  }
}

function connectionsOf({ connections }: TransferSummary): string {
  return connections === 1 ? '1 connection' : `${connections} connections`
}

function describe(error: unknown): string {
  return `${errorCode(error) ?? 'error'} ${toError(error).message}`
}
