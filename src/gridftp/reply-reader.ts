import { asBuffer } from '../lib/bytes.ts'
import { LimitExceededError, MalformedError } from '../lib/errors.ts'

/** One reply of an FTP server. */
export interface FtpReply {
  /** 100 to 699. */
  readonly code: number
  /**
   * Its lines without line ends, and without the code and its separator where they start with them.
   * Other lines keep their leading space.
   */
  readonly lines: readonly string[]
}

export interface ReplyReaderOptions {
  /** Largest reply, in bytes. @default 262_144 */
  readonly maxReplyBytes?: number | undefined
}

interface OpenReply {
  readonly code: number
  readonly lines: string[]
}

const FIRST_LINE = /^([1-6][0-9][0-9])([ -]|$)/
const LF = 0x0a

/**
 * Cuts the bytes of a control connection into replies. Lines end in CRLF or LF. A reply that starts
 * with `ddd-` goes on to the line that starts with the same `ddd` and a space.
 *
 * @see RFC 959 §4.2
 */
export class ReplyReader {
  readonly #maxReplyBytes: number
  #partialLine: Buffer[] = []
  #heldBytes = 0
  #open: OpenReply | undefined

  constructor(options: ReplyReaderOptions = {}) {
    const { maxReplyBytes = 262_144 } = options
    this.#maxReplyBytes = maxReplyBytes
  }

  /**
   * Takes the next bytes and returns the replies that they complete.
   *
   * @throws {MalformedError} if a reply does not start with a code.
   * @throws {LimitExceededError} if a reply grows beyond `maxReplyBytes`.
   */
  push(bytes: Uint8Array): FtpReply[] {
    const replies: FtpReply[] = []
    const buffer = asBuffer(bytes)
    let at = 0
    for (let end = buffer.indexOf(LF); end !== -1; end = buffer.indexOf(LF, at)) {
      this.#hold(buffer.subarray(at, end))
      const reply = this.#takeLine()
      if (reply !== undefined) replies.push(reply)
      at = end + 1
    }
    if (at < buffer.byteLength) this.#hold(Buffer.from(buffer.subarray(at)))
    return replies
  }

  #hold(part: Buffer): void {
    this.#heldBytes += part.byteLength
    if (this.#heldBytes > this.#maxReplyBytes) {
      throw new LimitExceededError('FTP reply', this.#maxReplyBytes)
    }
    this.#partialLine.push(part)
  }

  #takeLine(): FtpReply | undefined {
    const line = Buffer.concat(this.#partialLine).toString('utf8').replace(/\r+$/, '')
    this.#partialLine = []
    const open = this.#open
    if (open === undefined) return this.#startReply(line)
    if (line !== `${open.code}` && !line.startsWith(`${open.code} `)) {
      open.lines.push(line.startsWith(`${open.code}-`) ? line.slice(4) : line)
      return undefined
    }
    return this.#finish({ code: open.code, lines: [...open.lines, line.slice(4)] })
  }

  #startReply(line: string): FtpReply | undefined {
    const match = FIRST_LINE.exec(line)
    if (match === null) {
      throw new MalformedError('FTP reply', `"${line.slice(0, 80)}" does not start with a code`)
    }
    const code = Number(match[1])
    if (match[2] !== '-') return this.#finish({ code, lines: [line.slice(4)] })
    this.#open = { code, lines: [line.slice(4)] }
    return undefined
  }

  #finish(reply: FtpReply): FtpReply {
    this.#open = undefined
    this.#heldBytes = 0
    return reply
  }
}
