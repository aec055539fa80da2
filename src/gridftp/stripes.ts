import { abortable } from '../lib/abortable.ts'
import type { Clock } from '../lib/clock.ts'
import { withDeadline } from '../lib/deadline.ts'
import { errorCode } from '../lib/errors.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import type { DataMover, StripeAccess, StripeSession } from '../metadata/stripe-types.ts'
import { DataChannelError, StorageError, StripeFailedError } from './errors.ts'

/** What sessions are opened with. */
export interface OpenStripesOptions {
  readonly access: StripeAccess
  readonly logger: Logger
  readonly signal: AbortSignal
}

/** One that does not answer for so long may only be slow; whoever is lost is known at once. */
const LOST_TIMEOUT_MS = 1000

/** A mover's session, with what it answered when it was made ready. */
interface Prepared<T> {
  readonly session: StripeSession
  readonly answer: T
}

/** Sessions of one control session at several data movers: one stripe each, in this order. */
export class Stripes {
  readonly sessions: readonly StripeSession[]
  /** Has carried a transfer, so that data connections may be open still. */
  wasUsed = false

  constructor(sessions: readonly StripeSession[]) {
    this.sessions = sessions
  }

  /**
   * Opens a session at each mover. Those that cannot be reached or refuse are left out.
   *
   * @param prepare makes a session ready; a mover that cannot is left out, too.
   */
  static async open<T>(
    movers: readonly DataMover[],
    prepare: (session: StripeSession) => Promise<T>,
    options: OpenStripesOptions
  ): Promise<{ readonly stripes: Stripes; readonly answers: readonly T[] }> {
    const opened = await Promise.all(
      movers.map(async (mover) => await openOne(mover, prepare, options))
    )
    const prepared = opened.filter((one) => one !== undefined)
    const stripes = new Stripes(prepared.map(({ session }) => session))
    try {
      options.signal.throwIfAborted()
    } catch (error) {
      await stripes.close()
      throw error
    }
    return { stripes, answers: prepared.map(({ answer }) => answer) }
  }

  /** Number of stripes. */
  get count(): number {
    return this.sessions.length
  }

  /**
   * Asks all movers at the same time. The first failure aborts the others; what it does to them is
   * waited for.
   *
   * @throws {StripeFailedError} naming the stripe that failed first; `signal.reason` if aborted.
   */
  async all<T>(
    ask: (session: StripeSession, index: number, signal: AbortSignal) => Promise<T>,
    signal: AbortSignal
  ): Promise<T[]> {
    const failed = new AbortController()
    const either = AbortSignal.any([signal, failed.signal])
    const asked = await Promise.allSettled(
      this.sessions.map(async (session, index) => {
        try {
          return await ask(session, index, either)
        } catch (thrown) {
          failed.abort(this.failure(index, toError(thrown)))
          throw thrown
        }
      })
    )
    signal.throwIfAborted()
    failed.signal.throwIfAborted()
    return asked.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  }

  /** Says which stripe failed. */
  failure(index: number, cause: Error): Error {
    if (cause instanceof StripeFailedError) return cause
    const { mover = '' } = this.sessions[index] ?? {}
    return new StripeFailedError(replyCodeOf(cause), { index, count: this.count, mover }, cause)
  }

  /**
   * Finds what is behind a data connection that broke: a mover that is lost takes its connections
   * with it, and its client then cuts those to the others, which may be noticed first.
   */
  async causeOf(broken: Error, clock: Clock): Promise<Error> {
    if (!(broken instanceof StripeFailedError) || broken.replyCode === 451) return broken
    const asked = this.sessions.map(async (session, index) => {
      try {
        await withDeadline(async ({ signal }) => session.progress({ signal }), {
          clock,
          timeoutMs: LOST_TIMEOUT_MS,
          timedOut: () => broken
        })
        return broken
      } catch (thrown) {
        return thrown === broken ? broken : this.failure(index, toError(thrown))
      }
    })
    const causes = await Promise.all(asked)
    return causes.find((cause) => cause !== broken) ?? broken
  }

  /** Ends all sessions, with their ports, connections and whatever is not published. */
  async close(): Promise<void> {
    await Promise.allSettled(this.sessions.map(async (session) => session.close()))
  }
}

/** The failure of a stripe as one of the storage, where it is one. */
export function storageFailure(error: Error, explain: (error: Error) => Error): Error {
  if (!(error instanceof StripeFailedError)) return error
  const explained = explain(toError(error.cause))
  // That the storage is unavailable says less than which stripe failed, and why.
  const isMore = explained instanceof StorageError && explained.code !== 'ERR_FTP_UNAVAILABLE'
  return isMore ? explained : error
}

/** A data connection that broke is the client's or the network's, all else is ours. */
function replyCodeOf(cause: Error): 425 | 426 | 451 {
  if (cause instanceof DataChannelError) return cause.replyCode
  return errorCode(cause) === 'ERR_FTP_DATA_CHANNEL' ? 426 : 451
}

async function openOne<T>(
  mover: DataMover,
  prepare: (session: StripeSession) => Promise<T>,
  { access, logger, signal }: OpenStripesOptions
): Promise<Prepared<T> | undefined> {
  let session: StripeSession | undefined
  try {
    session = await mover.open(access, { signal })
    return { session, answer: await abortable(prepare(session), signal) }
  } catch (error) {
    logger.info('data mover %s is left out: %e', mover.id, error)
    await session?.close()
    return undefined
  }
}
