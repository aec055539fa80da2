import { BlobswarmError, errorCode } from '../lib/errors.ts'
import { CommandRefusedError, DataChannelError, StorageError, StripeFailedError } from './errors.ts'
import { revealPath } from './path.ts'

/** One FTP reply: a single line, or several of which the inner ones are indented. */
export interface Reply {
  /** Three digits. */
  readonly code: number
  readonly lines: readonly string[]
}

/** Makes a reply of one line. */
export function reply(code: number, text: string): Reply {
  return { code, lines: [text] }
}

/** Makes a reply of a first line, inner lines and a last line. */
export function replyWithLines(
  code: number,
  first: string,
  inner: readonly string[],
  last = 'End.'
): Reply {
  return { code, lines: [first, ...inner, last] }
}

/**
 * Formats a reply for the wire:
 *
 * ```text
 * 226 Transfer complete.
 *
 * 211-Extensions supported
 *  SIZE
 * 211 End.
 * ```
 *
 * Inner lines start with exactly one space, so that none can be taken for the end: a client of the
 * Globus library ends a reply at any line that starts with three digits and a space. Control
 * characters become `?`, because a reply may repeat what somebody sent.
 *
 * @see RFC 959 §4.2
 */
export function formatReply({ code, lines }: Reply): string {
  const clean = lines.map(withoutControls)
  const last = clean.at(-1) ?? ''
  if (clean.length <= 1) return `${code} ${last}\r\n`
  const inner = clean.slice(1, -1).map((line) => ` ${line}\r\n`)
  return `${code}-${clean[0]}\r\n${inner.join('')}${code} ${last}\r\n`
}

/** Doubles the quotes of a path for 257 replies. @see RFC 959 appendix II */
export function quotePath(path: string): string {
  return `"${path.replaceAll('"', '""')}"`
}

const STORAGE_REPLIES: Readonly<Record<string, number>> = {
  ERR_FTP_NOT_FOUND: 550,
  ERR_FTP_EXISTS: 553,
  ERR_FTP_NOT_DIRECTORY: 550,
  ERR_FTP_IS_DIRECTORY: 550,
  ERR_FTP_NOT_EMPTY: 550,
  ERR_FTP_READ_ONLY: 550,
  ERR_FTP_INVALID_PATH: 553,
  ERR_FTP_NO_SPACE: 552,
  ERR_FTP_QUOTA: 552,
  ERR_FTP_TOO_LARGE: 552,
  ERR_FTP_CONFLICT: 450,
  ERR_FTP_UNAVAILABLE: 451,
  ERR_FTP_ABANDONED: 426,
  ERR_FTP_UPLOAD_LOST: 554
}

/**
 * The reply for a failed command. What is not one of our errors is answered with a plain 451; its
 * message may hold what is nobody's business and belongs into the log.
 *
 * @param root the user's root folder, which replies never show.
 */
export function replyForError(error: unknown, root = '/'): Reply {
  if (error instanceof StorageError) {
    const code = STORAGE_REPLIES[error.code] ?? 451
    const shown = revealPath(root, error.path)
    return reply(code, error.path === '' ? error.message : replacePath(error, shown))
  }
  if (
    error instanceof CommandRefusedError ||
    error instanceof DataChannelError ||
    error instanceof StripeFailedError
  ) {
    return reply(error.replyCode, error.message)
  }
  if (error instanceof BlobswarmError) return reply(ownReplyCode(error.code), error.message)
  return reply(451, 'Local error in processing.')
}

function ownReplyCode(code: string): number {
  switch (code) {
    case 'ERR_FTP_TRANSFER_ABORTED':
    case 'ERR_FTP_INCOMPLETE':
      return 426
    case 'ERR_FTP_CHECKSUM':
    case 'ERR_FTP_CHECKSUM_UNKNOWN':
      return 550
    default:
      return 451
  }
}

/** Tells whether a failure is the machine's or the storage's and worth an operator's look. */
export function isInternalError(error: unknown): boolean {
  if (!(error instanceof BlobswarmError)) return true
  if (error instanceof StripeFailedError) return error.replyCode === 451
  const code = errorCode(error)
  return code === 'ERR_FTP_STORAGE_STALLED' || code === 'ERR_FTP_UNAVAILABLE'
}

function replacePath(error: StorageError, shown: string): string {
  return error.message.replace(error.path, () => shown)
}

function withoutControls(line: string): string {
  // oxlint-disable-next-line no-control-regex
  return line.replaceAll(/[\u0000-\u0008\u000a-\u001f\u007f]/g, '?')
}
