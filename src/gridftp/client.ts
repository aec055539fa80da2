import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import pLimit from 'p-limit'
import { concatBytes, MIB } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import { errorCode, LimitExceededError, NotRunningError } from '../lib/errors.ts'
import { IdleTimer } from '../lib/idle-timer.ts'
import { type Logger, noLogger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import { ControlConnection } from './client-control.ts'
import type { DataAddress } from './client-data.ts'
import { FtpConnectionError, FtpReplyError } from './client-errors.ts'
import { type DownloadSink, openSink, openSource, type UploadSource } from './client-files.ts'
import { type ListedEntry, parseListing } from './client-listing.ts'
import { Operation } from './client-operation.ts'
import { BlockReceiver, receiveStream, type TakePayload } from './client-receive.ts'
import { sendBlocks, sendStream, type UploadPlan } from './client-send.ts'
import type {
  GridFtpClientComponents,
  GridFtpClientOptions,
  OperationOptions,
  TransferOptions,
  TransferResult
} from './client-types.ts'
import type { FtpReply } from './reply-reader.ts'
import { formatRanges, gapsBetween, parseRangeMarker } from './restart-ranges.ts'

const MAX_STREAMS = 64

/**
 * A GridFTP client over clear FTP: uploads and downloads in stream and extended block mode. Operations
 * run one after the other in the order of their calls. After a refusal by the server or a failure
 * on this side the client can be used further; a lost connection or an abort ends it.
 *
 * @see RFC 959, RFC 3659, GFD.020
 */
export class GridFtpClient {
  readonly #clock: Clock
  readonly #log: Logger
  readonly #idleTimeoutMs: number
  readonly #maxDataConnections: number
  readonly #maxListingBytes: number
  readonly #oneAtATime = pLimit(1)
  #control: ControlConnection | undefined
  #mode: 'S' | 'E' = 'S'

  constructor(components: GridFtpClientComponents, options: GridFtpClientOptions = {}) {
    const { idleTimeoutMs = 600_000, maxDataConnections = 64, maxListingBytes = 16 * MIB } = options
    this.#clock = components.clock
    this.#log = (components.logger ?? noLogger).forComponent('blobswarm:gridftp:client')
    this.#idleTimeoutMs = idleTimeoutMs
    this.#maxDataConnections = maxDataConnections
    this.#maxListingBytes = maxListingBytes
  }

  /**
   * Opens the control connection. A client connects once.
   *
   * @throws {FtpConnectionError} if there is no server.
   * @throws {FtpReplyError} if the server turns the client away.
   */
  async connect(address: DataAddress, options: OperationOptions = {}): Promise<void> {
    if (this.#control !== undefined) throw new TypeError('a GridFtpClient connects once')
    const socket = connect(address)
    const control = new ControlConnection(socket)
    this.#control = control
    await this.#run(options, async () => {
      try {
        await once(socket, 'connect')
      } catch (error) {
        throw unreachable(address, error)
      }
      const greeting = await control.next()
      if (greeting.code !== 220) throw new FtpReplyError('connect', greeting)
    })
  }

  /** Logs in, anonymously if not told otherwise, and asks for binary transfers. */
  async login(
    credentials: { readonly user?: string; readonly password?: string } = {},
    options: OperationOptions = {}
  ): Promise<void> {
    const { user = 'anonymous', password = 'blobswarm@' } = credentials
    await this.#run(options, async (operation) => {
      const { code } = await operation.command(`USER ${user}`)
      if (code === 331) await operation.command(`PASS ${password}`, { name: 'PASS' })
      await operation.command('TYPE I')
    })
  }

  /**
   * Uploads a local file, or anything that can be read at any place.
   *
   * @throws {FtpReplyError} if the server refuses or fails; what breaks on this side is thrown as it is.
   */
  async put(
    source: string | UploadSource,
    path: string,
    options: TransferOptions = {}
  ): Promise<TransferResult> {
    const { mode = 'E', blockBytes = MIB, arrived = [] } = options
    const streams = checkStreams(options)
    if (mode === 'S' && arrived.length > 0) throw new RangeError('stream mode has no ranges')
    if (!(blockBytes >= 1)) throw new RangeError(`block size must be above 0, not ${blockBytes}`)
    return this.#run(options, async (operation) => {
      const opened = await openSource(source)
      try {
        await this.#setMode(operation, mode)
        const address = await operation.passive()
        const sockets = await operation.data.connect(address, streams)
        await operation.tryCommand(`ALLO ${opened.bytes}`)
        if (arrived.length > 0) await operation.command(`REST ${formatRanges(arrived)}`)
        const counter = new ByteCounter(operation, options, opened.bytes)
        const ranges = gapsBetween(arrived, { start: 0, end: opened.bytes })
        const onSent = (bytes: number): void => counter.add(bytes)
        const plan = { source: opened, blockBytes, ranges, onSent }
        const reply = await operation.transfer(`STOR ${path}`, {
          onPreliminary: (preliminary) => hear(preliminary, options),
          move: async () => sendOver(sockets, mode, plan)
        })
        return { bytes: counter.bytes, reply }
      } finally {
        await opened.close()
      }
    })
  }

  /**
   * Downloads into a local file, which appears only when it is complete, or into any sink.
   *
   * @throws {FtpReplyError} if the server refuses or fails; what the sink throws is thrown as it is.
   */
  async get(
    path: string,
    sink: string | DownloadSink,
    options: TransferOptions = {}
  ): Promise<TransferResult> {
    const { mode = 'E', onPreliminary } = options
    const streams = checkStreams(options)
    return this.#run(options, async (operation) => {
      const totalBytes = parseSize(await operation.tryCommand(`SIZE ${path}`))
      const opened = await openSink(sink)
      try {
        const counter = new ByteCounter(operation, options, totalBytes)
        const take: TakePayload = async (offset, bytes) => {
          await opened.take(offset, bytes)
          counter.add(bytes.byteLength)
        }
        await this.#setMode(operation, mode)
        const move =
          mode === 'E'
            ? await this.#listenForBlocks(operation, streams, take)
            : await connectForStream(operation, take)
        const reply = await operation.transfer(`RETR ${path}`, { onPreliminary, move })
        await opened.finish()
        return { bytes: counter.bytes, reply }
      } finally {
        await opened.discard()
      }
    })
  }

  /** Size of a remote file in bytes. @throws {FtpReplyError} if there is none. */
  async size(path: string, options: OperationOptions = {}): Promise<number> {
    return this.#run(options, async (operation) => {
      const reply = await operation.command(`SIZE ${path}`)
      const bytes = parseSize(reply)
      if (bytes === undefined) throw new FtpReplyError(`SIZE ${path}`, reply)
      return bytes
    })
  }

  /**
   * Entries of a remote directory, in the server's order.
   *
   * @throws {LimitExceededError} above `maxListingBytes`.
   */
  async list(path: string, options: OperationOptions = {}): Promise<ListedEntry[]> {
    return this.#run(options, async (operation) => {
      const parts: Uint8Array[] = []
      await this.#setMode(operation, 'S')
      const move = await connectForStream(operation, async (offset, bytes) => {
        if (offset + bytes.byteLength > this.#maxListingBytes) {
          throw new LimitExceededError(`listing of ${path}`, this.#maxListingBytes)
        }
        parts.push(bytes)
        operation.touch()
      })
      await operation.transfer(`MLSD ${path}`, { move })
      return parseListing(new TextDecoder().decode(concatBytes(parts)))
    })
  }

  /**
   * Sends any command that has no data connection, `MKD /a` for one.
   *
   * @throws {FtpReplyError} unless the reply is 2yz or 3yz.
   */
  async command(line: string, options: OperationOptions = {}): Promise<FtpReply> {
    return this.#run(options, async (operation) => operation.command(line))
  }

  /** Says goodbye and closes. */
  async quit(options: OperationOptions = {}): Promise<void> {
    await this.#run(options, async (operation) => operation.command('QUIT'))
    this.close()
  }

  /** Closes at once; what runs fails. Harmless when called twice. */
  close(): void {
    this.#control?.destroy(new NotRunningError('the GridFTP client'))
  }

  /** Runs one operation in its turn; an abort or a silence of `idleTimeoutMs` ends the connection. */
  async #run<T>(options: OperationOptions, work: (operation: Operation) => Promise<T>): Promise<T> {
    const { signal } = options
    return this.#oneAtATime(async () => {
      signal?.throwIfAborted()
      const control = this.#control
      if (control === undefined) throw new NotRunningError('the GridFTP client')
      const idle = new IdleTimer(this.#clock, this.#idleTimeoutMs, () => {
        giveUp(new FtpConnectionError(`nothing moved for ${this.#idleTimeoutMs} ms`))
      })
      const touch = (): void => idle.touch()
      const operation = new Operation({ control, clock: this.#clock, log: this.#log, touch })
      const giveUp = (reason: Error): void => {
        control.destroy(reason)
        operation.data.reset()
      }
      const onAbort = (): void => giveUp(toError(signal?.reason))
      signal?.addEventListener('abort', onAbort, { once: true })
      try {
        return await work(operation)
      } catch (error) {
        signal?.throwIfAborted()
        throw error
      } finally {
        signal?.removeEventListener('abort', onAbort)
        idle.stop()
        operation.data.close()
      }
    })
  }

  async #setMode(operation: Operation, mode: 'S' | 'E'): Promise<void> {
    if (this.#mode === mode) return
    await operation.command(`MODE ${mode}`)
    this.#mode = mode
  }

  async #listenForBlocks(
    operation: Operation,
    streams: number,
    take: TakePayload
  ): Promise<(signal: AbortSignal) => Promise<void>> {
    const receiver = new BlockReceiver(take, this.#maxDataConnections)
    await operation.command(`OPTS RETR Parallelism=${streams},${streams},${streams};`)
    await operation.active(this.#maxDataConnections, (socket) => receiver.add(socket))
    return async (signal) => {
      signal.addEventListener('abort', () => receiver.fail(toError(signal.reason)), { once: true })
      await receiver.done()
    }
  }
}

/** Counts what moved, tells who wants to know, and keeps the operation from being idle. */
class ByteCounter {
  readonly #operation: Operation
  readonly #options: TransferOptions
  readonly #totalBytes: number | undefined
  #bytes = 0

  constructor(operation: Operation, options: TransferOptions, totalBytes: number | undefined) {
    this.#operation = operation
    this.#options = options
    this.#totalBytes = totalBytes
  }

  get bytes(): number {
    return this.#bytes
  }

  add(bytes: number): void {
    this.#bytes += bytes
    this.#operation.touch()
    this.#options.onProgress?.({ bytes: this.#bytes, totalBytes: this.#totalBytes })
  }
}

async function connectForStream(
  operation: Operation,
  take: TakePayload
): Promise<() => Promise<void>> {
  const sockets = await operation.data.connect(await operation.passive(), 1)
  return async () => {
    for (const socket of sockets) await receiveStream(socket, take)
  }
}

async function sendOver(
  sockets: readonly Socket[],
  mode: 'S' | 'E',
  plan: UploadPlan
): Promise<void> {
  if (mode === 'E') return sendBlocks(sockets, plan)
  for (const socket of sockets) await sendStream(socket, plan)
}

/** Passes a reply on, and what it says about the upload. */
function hear(reply: FtpReply, { onPreliminary, onDurable }: TransferOptions): void {
  onPreliminary?.(reply)
  if (reply.code !== 111 || onDurable === undefined) return
  for (const range of parseRangeMarker(reply.lines[0] ?? '')) onDurable(range)
}

function checkStreams(options: TransferOptions): number {
  const { mode = 'E', streams = 2 } = options
  if (!Number.isInteger(streams) || streams < 1 || streams > MAX_STREAMS) {
    throw new RangeError(`streams must be 1 to ${MAX_STREAMS}, not ${streams}`)
  }
  return mode === 'E' ? streams : 1
}

function parseSize(reply: FtpReply | undefined): number | undefined {
  const text = reply?.lines[0]?.trim() ?? ''
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined
}

function unreachable(address: DataAddress, error: unknown): FtpConnectionError {
  // A host with several addresses fails with an AggregateError that has no message of its own.
  const reason = toError(error).message || errorCode(error) || 'failed'
  const text = `cannot connect to ${address.host}:${address.port}: ${reason}`
  return new FtpConnectionError(text, { cause: error })
}
