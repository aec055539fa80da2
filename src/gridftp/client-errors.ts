import { BlobswarmError } from '../lib/errors.ts'
import type { FtpReply } from './reply-reader.ts'

/** The server refused a command or failed at it: its reply was 4yz or 5yz, or not what was needed. */
export class FtpReplyError extends BlobswarmError {
  /** What was asked, without passwords. */
  readonly command: string
  /** 4yz: may work later; 5yz: will not. Named so because `code` is the project's own. */
  readonly replyCode: number
  /** All lines of the reply. */
  readonly text: string

  constructor(command: string, reply: FtpReply, options?: ErrorOptions) {
    const text = reply.lines.join('\n')
    super(`${command}: ${reply.code} ${text}`, 'ERR_FTP_REPLY', options)
    this.command = command
    this.replyCode = reply.code
    this.text = text
  }
}

/** The control connection could not be opened, was lost, or stayed silent for too long. */
export class FtpConnectionError extends BlobswarmError {
  constructor(message: string, options?: ErrorOptions) {
    super(message, 'ERR_FTP_CONNECTION', options)
  }
}

/** A data connection could not be opened, or ended before the transfer was complete. */
export class FtpDataConnectionError extends BlobswarmError {
  constructor(message: string, options?: ErrorOptions) {
    super(message, 'ERR_FTP_DATA_CONNECTION', options)
  }
}

/** The source of an upload had fewer bytes than it said. */
export class SourceTruncatedError extends BlobswarmError {
  readonly offset: number

  constructor(what: string, offset: number) {
    super(`${what} ends at byte ${offset}, before the size it had`, 'ERR_FTP_SOURCE_TRUNCATED')
    this.offset = offset
  }
}
