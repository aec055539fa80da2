import { once } from 'node:events'
import type { Socket } from 'node:net'
import {
  decodeModeEHeader,
  MODE_E_HEADER_BYTES,
  modeEPayloadBytes
} from '../../src/gridftp/mode-e-header.ts'
import { block, DataListener, openData, type RawFtp, readAll, untilClosed } from './raw-ftp.ts'

/**
 * Plays a session that is written down as text, and says what it really was:
 *
 * ```text
 * # comment
 * > line to send, CR LF is added; \xNN is one byte
 *       {port} is a port of ours as PORT wants it, {address} as EPRT wants it; we listen there from now on
 * < line of a reply; an asterisk stands for anything
 * <~ word      the lines of the reply up to its last one; none of them has the word
 * markers      restart and performance markers, as many as there are (111, 112)
 * data> bytes to send over a new connection to the last passive port, which is then ended
 * data<        opens a new connection to the last passive port, or waits for one to the last port of ours
 * data= text   everything that came over it until its end; \r \n \xNN are bytes
 * 1 open       data connection 1: opens it to the last passive port, or waits for it at the last port of ours;
 *              so does the first line that names it
 * 1> 00@6 text sends a block of extended block mode: flags (hex), offset or EOF's count, payload
 * 1> 48@2      … without payload
 * 1>> bytes    sends bytes as they are
 * 1< 00@0 text the next block that arrives
 * 1 end        ends our side
 * 1 reset      breaks it
 * 1 closed     the server closes it
 * hang up      closes the control connection without a word
 * closed       the server closes the control connection
 * ```
 */
export class SessionTranscript {
  readonly #raw: RawFtp
  readonly #listeners: DataListener[] = []
  readonly #sockets = new Map<string, Socket>()
  /** Lines of the last reply that the script has not named yet. */
  #lines: string[] = []
  #passivePort = 0
  /** Connections that came to the last port of ours and were named. */
  #arrivals = 0
  #isActive = false
  #content: Promise<Buffer> | undefined

  constructor(raw: RawFtp) {
    this.#raw = raw
  }

  /** Plays it. @returns what the script should have been. */
  async play(script: string): Promise<string> {
    const seen: string[] = []
    try {
      for (const line of script.trimEnd().split('\n')) seen.push(await this.#step(line))
    } finally {
      for (const listener of this.#listeners) listener.close()
    }
    return seen.join('\n')
  }

  async #step(line: string): Promise<string> {
    const [, number, rest = ''] = /^(\d)( open| end| reset| closed|[<>].*)$/.exec(line) ?? []
    if (number !== undefined) return await this.#onConnection(number, rest)
    if (line.startsWith('> ')) await this.#send(line.slice(2))
    else if (line.startsWith('< ')) return `< ${await this.#replyLine(line.slice(2))}`
    else if (line.startsWith('<~ ')) return await this.#linesWithout(line.slice(3))
    else if (line === 'markers') await this.#skipMarkers()
    else if (line.startsWith('data> ')) (await this.#open()).end(bytesOf(line.slice(6)))
    else if (line === 'data<') this.#content = this.#isActive ? this.#arriving() : this.#opened()
    else if (line.startsWith('data=')) return `data= ${textOf(await this.#content)}`.trimEnd()
    else if (line === 'hang up') this.#raw.socket.destroy()
    else if (line === 'closed') return (await this.#raw.replyOrClose()) ?? line
    else if (line !== '' && !line.startsWith('#')) throw new Error(`not a step: ${line}`)
    return line
  }

  async #send(line: string): Promise<void> {
    let text = line
    if (/\{(?:port|address)\}/.test(line)) {
      const listener = await DataListener.open()
      this.#listeners.push(listener)
      this.#arrivals = 0
      this.#isActive = true
      const { port } = listener
      text = line
        .replace('{port}', `127,0,0,1,${port >> 8},${port & 255}`)
        .replace('{address}', `|1|127.0.0.1|${port}|`)
    }
    this.#raw.send(bytesOf(`${text}\\x0d\\x0a`))
  }

  async #onConnection(number: string, rest: string): Promise<string> {
    const socket = this.#sockets.get(number) ?? (await this.#open())
    this.#sockets.set(number, socket)
    if (rest === ' end') socket.end()
    else if (rest === ' reset') socket.resetAndDestroy()
    else if (rest === ' closed') await closed(socket)
    else if (rest.startsWith('>> ')) socket.write(bytesOf(rest.slice(3)))
    else if (rest.startsWith('> ')) socket.write(blockOf(rest.slice(2)))
    else if (rest.startsWith('< ')) return `${number}< ${await nextBlock(socket)}`
    return `${number}${rest}`
  }

  async #replyLine(expected: string): Promise<string> {
    const actual = await this.#nextLine()
    const parts = expected.split('*').map((part) => part.replaceAll(/[.?+^$[\]\\(){}|-]/g, '\\$&'))
    return new RegExp(`^${parts.join('.*')}$`).test(actual) ? expected : actual
  }

  async #nextLine(): Promise<string> {
    if (this.#lines.length === 0) this.#lines = (await this.#raw.reply()).split('\n')
    const line = this.#lines.shift() ?? ''
    const passive = /\((?:\d+,){4}(\d+),(\d+)\)|\(\|\|\|(\d+)\|\)|^ (?:\d+,){4}(\d+),(\d+)$/.exec(
      line
    )
    if (passive === null) return line
    const [, high = passive[4], low = passive[5], port] = passive
    this.#passivePort = Number(port ?? Number(high) * 256 + Number(low))
    this.#isActive = false
    return line
  }

  async #skipMarkers(): Promise<void> {
    if (this.#lines.length > 0) throw new Error(`the reply goes on: ${this.#lines[0]}`)
    this.#lines = (await this.#raw.finalReply()).split('\n')
  }

  async #linesWithout(word: string): Promise<string> {
    do {
      const line = await this.#nextLine()
      if (line.includes(word)) return `< ${line}`
    } while (this.#lines.length > 1)
    return `<~ ${word}`
  }

  async #open(): Promise<Socket> {
    if (!this.#isActive) return await openData(this.#passivePort)
    this.#arrivals += 1
    const arrived = await this.#listeners.at(-1)?.connections(this.#arrivals)
    const socket = arrived?.at(-1)
    if (socket === undefined) throw new Error('nothing connected')
    return socket
  }

  async #arriving(): Promise<Buffer> {
    const socket = await this.#open()
    const content = readAll(socket)
    socket.resume() // it came paused
    return await content
  }

  async #opened(): Promise<Buffer> {
    return await readAll(await openData(this.#passivePort))
  }
}

async function closed(socket: Socket): Promise<void> {
  if (!socket.closed) await untilClosed(socket)
}

function blockOf(text: string): Buffer {
  const [, flags, offset = '0', payload = ''] =
    /^([0-9a-f]{2})(?:@(\d+))?(?: (.*))?$/.exec(text) ?? []
  if (flags === undefined) throw new Error(`not a block: ${text}`)
  return block(Number.parseInt(flags, 16), Number(offset), bytesOf(payload))
}

/** Reads a block. @returns it as `blockOf` takes it, or `closed`. */
async function nextBlock(socket: Socket): Promise<string> {
  const header = await take(socket, MODE_E_HEADER_BYTES)
  if (header === undefined) return 'closed'
  const fields = decodeModeEHeader(header)
  const flags = fields.flags.toString(16).padStart(2, '0')
  const place = fields.flags === 0 || fields.offset > 0 ? `@${fields.offset}` : ''
  const length = modeEPayloadBytes(fields)
  const payload = length === 0 ? undefined : await take(socket, length)
  return `${flags}${place}${payload === undefined ? '' : ` ${textOf(payload)}`}`
}

async function take(socket: Socket, length: number): Promise<Buffer | undefined> {
  for (;;) {
    const bytes: unknown = socket.read(length)
    if (bytes !== null) return bytes as Buffer
    if (socket.readableEnded || socket.closed) return undefined
    await Promise.race([once(socket, 'readable'), once(socket, 'end'), once(socket, 'close')])
  }
}

function bytesOf(text: string): Buffer {
  const parts = text.split(/\\x([0-9a-f]{2})/)
  return Buffer.concat(
    parts.map((part, index) => Buffer.from(part, index % 2 === 1 ? 'hex' : 'utf8'))
  )
}

function textOf(content: Buffer | undefined): string {
  return (content?.toString() ?? '').replaceAll('\r', '\\r').replaceAll('\n', '\\n')
}
