import { asBuffer, KIB } from '../lib/bytes.ts'

/** What one line of the control connection turned out to be. */
export type ParsedLine =
  | {
      readonly kind: 'command'
      /** Upper case. */
      readonly verb: string
      /** Everything after the first space, as it came; empty when there is none. */
      readonly argument: string
    }
  | {
      readonly kind: 'refused'
      /** For the reply. */
      readonly reason: string
    }

/** Limits of a parser. */
export interface CommandParserOptions {
  /**
   * Longest line without its end, in bytes; the rest of a longer one is thrown away as it
   * comes.
   *
   * @default 8192
   */
  readonly maxLineBytes?: number
}

const LF = 0x0a
const CR = 0x0d
const IAC = 0xff
const TELNET_COMMANDS_FROM = 0xf0
const TELNET_OPTIONS_FROM = 0xfb
const DATA_MARK = 0xf2

const ABORT_LINE = Buffer.from('ABOR')
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Cuts the control connection into commands. Lines end with CR LF or a lone LF; Telnet commands are
 * taken out. A line of exactly `ABOR` counts at its CR already, because clients send the last
 * byte of it as urgent data, which never arrives in the stream; others send the IAC of a Telnet
 * data mark so, and a mark without it is taken out where a line begins, which no command does with it.
 *
 * Memory is bounded by one line plus what `push` was given and `next` has not yet taken.
 *
 * @see RFC 959 §4.1.3, RFC 854 (Telnet commands), RFC 2640 (UTF-8)
 */
export class CommandParser {
  readonly #line: Buffer
  #length = 0
  #tooLong = false
  #telnet: 'none' | 'command' | 'option' = 'none'
  #skipLf = false
  #input: Buffer = Buffer.alloc(0)

  constructor(options: CommandParserOptions = {}) {
    const { maxLineBytes = 8 * KIB } = options
    if (!(maxLineBytes >= 16)) throw new RangeError(`maxLineBytes must be 16 or more`)
    this.#line = Buffer.allocUnsafeSlow(maxLineBytes + 1) // one more for the CR
  }

  /** Bytes pushed but not yet looked at. */
  get pendingBytes(): number {
    return this.#input.byteLength
  }

  /** Adds what the socket gave. */
  push(bytes: Uint8Array): void {
    const added = asBuffer(bytes)
    this.#input = this.#input.byteLength === 0 ? added : Buffer.concat([this.#input, added])
  }

  /** Takes the next line, or undefined when no whole one is there. */
  next(): ParsedLine | undefined {
    const input = this.#input
    for (let at = 0; at < input.byteLength; at += 1) {
      const parsed = this.#take(input[at] ?? 0)
      if (parsed !== undefined) {
        this.#input = input.subarray(at + 1)
        return parsed
      }
    }
    this.#input = Buffer.alloc(0)
    return undefined
  }

  #take(byte: number): ParsedLine | undefined {
    if (this.#telnet !== 'none') {
      if (this.#takeTelnet(byte)) return undefined
    } else if (byte === IAC) {
      this.#telnet = 'command'
      return undefined
    }
    if (this.#skipLf) {
      this.#skipLf = false
      if (byte === LF) return undefined
    }
    if (byte === LF) return this.#endLine()
    if (byte === CR && !this.#tooLong && this.#isAbort()) {
      this.#skipLf = true
      return this.#endLine()
    }
    return this.#append(byte)
  }

  /** True if the byte belongs to a Telnet command; an IAC before anything else is dropped alone. */
  #takeTelnet(byte: number): boolean {
    const state = this.#telnet
    this.#telnet = 'none'
    if (state === 'option') return true
    if (byte < TELNET_COMMANDS_FROM) return false
    if (byte === IAC) return false
    if (byte >= TELNET_OPTIONS_FROM) this.#telnet = 'option'
    return true
  }

  #append(byte: number): ParsedLine | undefined {
    if (this.#tooLong || (byte === DATA_MARK && this.#length === 0)) return undefined
    if (this.#length === this.#line.byteLength) {
      this.#tooLong = true
      return { kind: 'refused', reason: `Line exceeds ${this.#line.byteLength - 1} bytes.` }
    }
    this.#line[this.#length] = byte
    this.#length += 1
    return undefined
  }

  #isAbort(): boolean {
    if (this.#length !== ABORT_LINE.byteLength) return false
    return this.#line.toString('latin1', 0, this.#length).toUpperCase() === 'ABOR'
  }

  #endLine(): ParsedLine | undefined {
    const { length } = this.#withoutCr()
    const tooLong = this.#tooLong
    this.#length = 0
    this.#tooLong = false
    if (tooLong) return undefined // answered when it became too long
    return parseLine(this.#line.subarray(0, length))
  }

  #withoutCr(): { length: number } {
    const endsWithCr = this.#length > 0 && this.#line[this.#length - 1] === CR
    return { length: endsWithCr ? this.#length - 1 : this.#length }
  }
}

/** Parses one line without its end. */
export function parseLine(line: Uint8Array): ParsedLine {
  if (line.includes(0)) return { kind: 'refused', reason: 'Line has a NUL byte.' }
  if (line.includes(CR)) return { kind: 'refused', reason: 'Line has a CR inside.' }
  let text: string
  try {
    text = strictUtf8.decode(line)
  } catch {
    return { kind: 'refused', reason: 'Line is not valid UTF-8.' }
  }
  const space = text.indexOf(' ')
  const verb = space === -1 ? text : text.slice(0, space)
  if (!/^[A-Za-z]{3,8}$/.test(verb)) return { kind: 'refused', reason: 'Not a command.' }
  const argument = space === -1 ? '' : text.slice(space + 1)
  return { kind: 'command', verb: verb.toUpperCase(), argument }
}
