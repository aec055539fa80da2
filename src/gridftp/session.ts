import type { Socket } from 'node:net'
import type { Cancel } from '../lib/clock.ts'
import { addressFamily, isLoopback } from './address.ts'
import type { ParsedLine } from './command-parser.ts'
import { CommandQueue, type QueuedLine } from './command-queue.ts'
import { findCommand, unknownCommandReply } from './commands/table.ts'
import { ControlChannel } from './control-channel.ts'
import { DataChannel } from './data-channel.ts'
import { TransferAbortedError } from './errors.ts'
import { syntaxOf } from './features.ts'
import { isInternalError, type Reply, reply, replyForError } from './replies.ts'
import { newSessionState } from './session-state.ts'
import type { Transfer } from './transfer.ts'
import type { CommandContext, CommandDefinition, SessionServices, SessionState } from './types.ts'

/**
 * One control connection from its greeting to its end. Commands are carried out one after the
 * other in the order in which they came, however many a client sends ahead; only ABOR, QUIT and
 * STAT are looked at as soon as they arrive. When too many wait, the connection is left unread.
 */
export class Session implements CommandContext {
  readonly services: SessionServices
  readonly state: SessionState = newSessionState()
  readonly channel: DataChannel
  readonly peerHost: string
  readonly localHost: string
  transfer: Transfer | undefined
  readonly #control: ControlChannel
  readonly #queue: CommandQueue
  readonly #gone = new AbortController()
  #command: AbortController | undefined
  #hasEnded = false
  #isQuitting = false
  #stopReply: Reply | undefined
  #wake: (() => void) | undefined
  #cancelLogin: Cancel | undefined

  constructor(services: SessionServices, socket: Socket) {
    const { settings, clock, random, logger, recorder } = services
    this.services = services
    this.#queue = new CommandQueue(settings.maxQueuedCommands)
    this.#control = new ControlChannel(socket, clock, {
      maxLineBytes: settings.maxLineBytes,
      sendTimeoutMs: settings.dataTimeoutMs
    })
    this.peerHost = this.#control.peerHost
    this.localHost = this.#control.localHost
    this.channel = new DataChannel(
      { random, logger, recorder },
      {
        localHost: this.localHost,
        dataHost: dataHostFor(this.localHost, settings.dataAddress),
        advertisedHost: settings.advertisedAddress,
        peerHost: this.peerHost,
        passivePorts: settings.passivePorts,
        allowsThirdParty: settings.allowsThirdParty,
        maxSockets: settings.maxDataSockets
      }
    )
  }

  get signal(): AbortSignal {
    return this.#command?.signal ?? this.#gone.signal
  }

  /** Serves the client until either side ends; resolves when every connection is closed. */
  async run(): Promise<void> {
    this.#control.open({
      onInput: () => this.#readLines(),
      onEnd: () => this.#clientEnded(),
      onClose: () => this.#clientClosed()
    })
    this.#watchLogin()
    try {
      await this.send(reply(220, 'blobswarm GridFTP server ready.'))
      await this.#serve()
      if (this.#stopReply !== undefined) this.#control.trySend(this.#stopReply)
    } finally {
      this.#cancelLogin?.()
      this.channel.close()
      await this.channel.settled()
      await this.#control.close()
    }
  }

  /** Ends the session: a running transfer fails, the client is told why. */
  stop(reason: string): void {
    if (this.#stopReply === undefined) this.#logEnd(reason)
    this.#stopReply ??= reply(421, reason)
    this.#queue.clear()
    this.#abort(new TransferAbortedError(reason))
    this.#control.giveUp()
    this.#wake?.()
  }

  async send(message: Reply): Promise<void> {
    if (!(await this.#control.send(message))) this.#logEnd('it does not read its replies')
  }

  trySend(message: Reply): boolean {
    return this.#control.trySend(message)
  }

  isClientThere(): boolean {
    return !this.#hasEnded || this.#isQuitting
  }

  async #serve(): Promise<void> {
    for (;;) {
      const queued = await this.#nextLine()
      if (queued === undefined) return
      const answer = await this.#execute(queued)
      if (answer === this.#stopReply) return
      await this.send(answer)
      if (answer.code === 221 || answer.code === 421) return
    }
  }

  async #nextLine(): Promise<QueuedLine | undefined> {
    const { clock, settings } = this.services
    if (this.#queue.isEmpty && !this.#hasEnded && this.#stopReply === undefined) {
      const { promise, resolve } = Promise.withResolvers<void>()
      const cancel = clock.schedule(() => this.stop('Idle for too long.'), settings.idleTimeoutMs)
      this.#wake = resolve
      await promise
      this.#wake = undefined
      cancel()
    }
    // Lines that came since then are not looked at, or a client could go on for ever.
    if (this.#stopReply !== undefined) return undefined
    const next = this.#queue.shift()
    if (this.#queue.hasRoom) this.#readLines()
    return next
  }

  #readLines(): void {
    while (!this.#queue.isFull) {
      const line = this.#control.next()
      if (line === undefined) {
        this.#control.resume()
        break
      }
      this.#enqueue(line)
    }
    if (this.#queue.isFull) this.#control.pause()
    if (!this.#queue.isEmpty) this.#wake?.()
  }

  #enqueue(line: ParsedLine): void {
    const verb = line.kind === 'command' ? line.verb : undefined
    if (verb === 'QUIT') this.#isQuitting = true
    if (verb === 'ABOR') this.#abortTransfers()
    const asksNow = line.kind === 'command' && verb === 'STAT' && line.argument === ''
    if (asksNow && this.transfer !== undefined) {
      const { request, bytes } = this.transfer
      const status = reply(213, `${request.verb} ${request.path}: ${bytes} bytes so far.`)
      if (this.#control.trySend(status)) return
    }
    this.#queue.push(line)
  }

  /** Ends the running transfer and those that wait for it; each is answered in its turn. */
  #abortTransfers(): void {
    this.#queue.abort()
    this.#command?.abort(new TransferAbortedError('ABOR'))
  }

  async #execute({ line, isAborted }: QueuedLine): Promise<Reply> {
    if (line.kind === 'refused') return reply(500, line.reason)
    const command = findCommand(line.verb)
    if (command === undefined) return unknownCommandReply(line.verb)
    const refusal = this.#refusal(command, line.argument, isAborted)
    if (refusal !== undefined) {
      this.#endTransfer(command, 'failed')
      return refusal
    }
    try {
      return await this.#run(command, line.argument)
    } catch (error) {
      // Why the session ends is all there is to say; a transfer is answered by itself.
      if (this.#stopReply !== undefined && !isAbortable(command)) return this.#stopReply
      if (isInternalError(error) && command.isTransfer !== true) {
        this.services.logger.error('%s failed: %e', command.verb, error)
      }
      const { login } = this.state
      return replyForError(error, login.kind === 'loggedIn' ? login.user.root : '/')
    }
  }

  async #run(command: CommandDefinition, argument: string): Promise<Reply> {
    const { state } = this
    if (!isAbortable(command)) {
      const answer = await command.run(this, argument)
      if (command.verb !== 'RNFR') state.renameFrom = undefined
      if (command.verb === 'REIN') this.#watchLogin()
      return answer
    }
    this.#command = new AbortController()
    if (this.#gone.signal.aborted) this.#command.abort(this.#gone.signal.reason)
    let outcome: 'done' | 'failed' = 'failed'
    try {
      const answer = await command.run(this, argument)
      outcome = 'done'
      return answer
    } finally {
      this.#command = undefined
      state.renameFrom = undefined
      this.#endTransfer(command, outcome)
    }
  }

  /**
   * What was said for one transfer does not hold for the next. Nor does what was sent for an upload
   * that failed, however early: in extended block mode it may be here already.
   */
  #endTransfer({ isTransfer, auth }: CommandDefinition, outcome: 'done' | 'failed'): void {
    if (isTransfer !== true) return
    this.state.restartOffset = undefined
    this.state.restartRanges = undefined
    this.state.announcedBytes = undefined
    if (auth !== 'write') return
    this.state.expectedChecksum = undefined
    if (outcome === 'failed') this.channel.close()
  }

  /** Whoever has not logged in within a time, from the start or from REIN on, has to go. */
  #watchLogin(): void {
    const { clock, settings } = this.services
    this.#cancelLogin?.()
    this.#cancelLogin = clock.schedule(() => {
      if (this.state.login.kind !== 'loggedIn') this.stop('Login took too long.')
    }, settings.loginTimeoutMs)
  }

  #refusal(command: CommandDefinition, argument: string, isAborted: boolean): Reply | undefined {
    const { login } = this.state
    if (command.auth !== 'anyone' && login.kind !== 'loggedIn') {
      return reply(530, 'Please login with USER and PASS.')
    }
    if (command.auth === 'write' && login.kind === 'loggedIn' && !login.user.mayWrite) {
      return reply(550, 'You may not change anything here.')
    }
    const isMissing = command.argument === 'required' && argument === ''
    const isTooMuch = command.argument === 'none' && argument.trim() !== ''
    if (isMissing || isTooMuch) return reply(501, syntaxOf(command))
    return isAborted && isAbortable(command) ? reply(426, 'Aborted before it began.') : undefined
  }

  #logEnd(reason: string): void {
    const { login } = this.state
    const who = login.kind === 'loggedIn' ? login.user.name : 'nobody'
    this.services.logger.info('session of %s from %s ended: %s', who, this.peerHost, reason)
  }

  #clientEnded(): void {
    this.#hasEnded = true
    if (!this.#isQuitting) this.#abort(new TransferAbortedError('the client has gone'))
    this.#wake?.()
  }

  #clientClosed(): void {
    this.#queue.clear()
    this.#clientEnded()
  }

  #abort(reason: Error): void {
    this.#gone.abort(reason)
    this.#command?.abort(reason)
  }
}

/**
 * A client that came through loopback cannot come from there to another address of ours: we
 * would take it for a stranger.
 */
function dataHostFor(localHost: string, dataAddress: string | undefined): string | undefined {
  if (dataAddress === undefined || addressFamily(dataAddress) !== addressFamily(localHost)) {
    return undefined
  }
  return isLoopback(localHost) && !isLoopback(dataAddress) ? undefined : dataAddress
}

function isAbortable({ isTransfer, isLong }: CommandDefinition): boolean {
  return isTransfer === true || isLong === true
}
