import type { Socket } from 'node:net'
import type { ParsedLine } from './command-parser.ts'
import { findCommand } from './commands/table.ts'
import { ControlChannel } from './control-channel.ts'
import { DataChannel } from './data-channel.ts'
import { TransferAbortedError } from './errors.ts'
import { syntaxOf } from './features.ts'
import { isInternalError, type Reply, reply, replyForError } from './replies.ts'
import { newSessionState } from './session-state.ts'
import type { Transfer } from './transfer.ts'
import type { CommandContext, CommandDefinition, SessionServices, SessionState } from './types.ts'

interface QueuedLine {
  readonly line: ParsedLine
  /** ABOR came after it and before its turn. */
  isAborted: boolean
}

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
  readonly #queue: QueuedLine[] = []
  readonly #gone = new AbortController()
  #command: AbortController | undefined
  #hasEnded = false
  #isQuitting = false
  #stopReply: Reply | undefined
  #wake: (() => void) | undefined

  constructor(services: SessionServices, socket: Socket) {
    const { settings, clock, random, logger } = services
    this.services = services
    this.#control = new ControlChannel(socket, clock, {
      maxLineBytes: settings.maxLineBytes,
      sendTimeoutMs: settings.dataTimeoutMs
    })
    this.peerHost = this.#control.peerHost
    this.localHost = this.#control.localHost
    this.channel = new DataChannel(
      { random, logger },
      {
        localHost: this.localHost,
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
    const { clock, settings } = this.services
    this.#control.open({
      onInput: () => this.#readLines(),
      onEnd: () => this.#clientEnded(),
      onClose: () => this.#clientClosed()
    })
    const cancelLogin = clock.schedule(() => {
      if (this.state.login.kind !== 'loggedIn') this.stop('Login took too long.')
    }, settings.loginTimeoutMs)
    try {
      await this.send(reply(220, 'blobswarm GridFTP server ready.'))
      await this.#serve()
      if (this.#stopReply !== undefined) this.#control.trySend(this.#stopReply)
    } finally {
      cancelLogin()
      this.channel.close()
      await this.#control.close()
    }
  }

  /** Ends the session: a running transfer fails, the client is told why. */
  stop(reason: string): void {
    this.#stopReply ??= reply(421, reason)
    this.#queue.length = 0
    this.#abort(new TransferAbortedError(reason))
    this.#wake?.()
  }

  async send(message: Reply): Promise<void> {
    await this.#control.send(message)
  }

  trySend(message: Reply): void {
    this.#control.trySend(message)
  }

  isClientThere(): boolean {
    return !this.#hasEnded || this.#isQuitting
  }

  async #serve(): Promise<void> {
    for (;;) {
      const queued = await this.#nextLine()
      if (queued === undefined) return
      const answer = await this.#execute(queued)
      await this.send(answer)
      if (answer.code === 221 || answer.code === 421) return
    }
  }

  async #nextLine(): Promise<QueuedLine | undefined> {
    const { clock, settings } = this.services
    if (this.#queue.length === 0 && !this.#hasEnded && this.#stopReply === undefined) {
      const { promise, resolve } = Promise.withResolvers<void>()
      const cancel = clock.schedule(() => this.stop('Idle for too long.'), settings.idleTimeoutMs)
      this.#wake = resolve
      await promise
      this.#wake = undefined
      cancel()
    }
    const next = this.#queue.shift()
    if (this.#queue.length < settings.maxQueuedCommands / 2) this.#readLines()
    return next
  }

  #readLines(): void {
    const { maxQueuedCommands } = this.services.settings
    while (this.#queue.length < maxQueuedCommands) {
      const line = this.#control.next()
      if (line === undefined) {
        this.#control.resume()
        break
      }
      this.#enqueue(line)
    }
    if (this.#queue.length >= maxQueuedCommands) this.#control.pause()
    if (this.#queue.length > 0) this.#wake?.()
  }

  #enqueue(line: ParsedLine): void {
    const verb = line.kind === 'command' ? line.verb : undefined
    if (verb === 'QUIT') this.#isQuitting = true
    if (verb === 'ABOR') this.#abortTransfers()
    if (verb === 'STAT' && this.transfer !== undefined) {
      const { request, bytes } = this.transfer
      this.trySend(reply(213, `${request.verb} ${request.path}: ${bytes} bytes so far.`))
      return
    }
    this.#queue.push({ line, isAborted: false })
  }

  /** Ends the running transfer and those that wait for it; each is answered in its turn. */
  #abortTransfers(): void {
    for (const queued of this.#queue) queued.isAborted = true
    this.#command?.abort(new TransferAbortedError('ABOR'))
  }

  async #execute({ line, isAborted }: QueuedLine): Promise<Reply> {
    if (line.kind === 'refused') return reply(500, line.reason)
    const command = findCommand(line.verb)
    if (command === undefined) return reply(500, `${line.verb}: unknown command.`)
    const refusal = this.#refusal(command, line.argument)
    if (refusal !== undefined) return refusal
    if (isAborted && command.isTransfer === true) return reply(426, 'Aborted before it began.')
    try {
      return await this.#run(command, line.argument)
    } catch (error) {
      if (isInternalError(error) && command.isTransfer !== true) {
        this.services.logger.error('%s failed: %e', command.verb, error)
      }
      const { login } = this.state
      return replyForError(error, login.kind === 'loggedIn' ? login.user.root : '/')
    }
  }

  async #run(command: CommandDefinition, argument: string): Promise<Reply> {
    const { state } = this
    if (command.isTransfer !== true) {
      const answer = await command.run(this, argument)
      if (command.verb !== 'RNFR') state.renameFrom = undefined
      return answer
    }
    this.#command = new AbortController()
    if (this.#gone.signal.aborted) this.#command.abort(this.#gone.signal.reason)
    try {
      return await command.run(this, argument)
    } finally {
      this.#command = undefined
      state.restartOffset = undefined
      state.announcedBytes = undefined
      state.renameFrom = undefined
    }
  }

  #refusal(command: CommandDefinition, argument: string): Reply | undefined {
    const { login } = this.state
    if (command.auth !== 'anyone' && login.kind !== 'loggedIn') {
      return reply(530, 'Please login with USER and PASS.')
    }
    if (command.auth === 'write' && login.kind === 'loggedIn' && !login.user.mayWrite) {
      return reply(550, 'You may not change anything here.')
    }
    const isMissing = command.argument === 'required' && argument === ''
    const isTooMuch = command.argument === 'none' && argument.trim() !== ''
    return isMissing || isTooMuch ? reply(501, syntaxOf(command)) : undefined
  }

  #clientEnded(): void {
    this.#hasEnded = true
    if (!this.#isQuitting) this.#abort(new TransferAbortedError('the client has gone'))
    this.#wake?.()
  }

  #clientClosed(): void {
    this.#queue.length = 0
    this.#clientEnded()
  }

  #abort(reason: Error): void {
    this.#gone.abort(reason)
    this.#command?.abort(reason)
  }
}
