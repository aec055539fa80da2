import { MalformedError } from '../lib/errors.ts'

/** One entry of a remote directory. */
export interface ListedEntry {
  readonly name: string
  readonly type: 'file' | 'directory' | 'other'
  /** Undefined when the server did not say. */
  readonly bytes: number | undefined
  /** Milliseconds since the epoch, undefined when the server did not say. */
  readonly modifiedMs: number | undefined
  /** All facts, names in lower case. */
  readonly facts: ReadonlyMap<string, string>
}

const TIME = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)/

/**
 * Parses the text of an MLSD listing; the directory itself and its parent are left out.
 *
 * @throws {MalformedError} if a line is not facts, a space and a name.
 * @see RFC 3659 §7
 */
export function parseListing(text: string): ListedEntry[] {
  return text
    .split('\n')
    .map((line) => line.replace(/\r+$/, ''))
    .filter((line) => line !== '')
    .map((line) => parseListedEntry(line))
    .filter(({ facts }) => !/^[cp]dir$/i.test(facts.get('type') ?? ''))
}

/** Parses one line of facts. @throws {MalformedError} if it is not one. */
export function parseListedEntry(line: string): ListedEntry {
  const split = line.indexOf(' ')
  const name = line.slice(split + 1)
  if (split === -1 || name === '') {
    throw new MalformedError('MLSD line', `"${line.slice(0, 80)}" has no name`)
  }
  const facts = new Map<string, string>()
  for (const fact of line.slice(0, split).split(';')) {
    const equals = fact.indexOf('=')
    if (equals > 0) facts.set(fact.slice(0, equals).toLowerCase(), fact.slice(equals + 1))
  }
  const bytes = Number(facts.get('size') ?? Number.NaN)
  return {
    name,
    type: entryType(facts.get('type')),
    bytes: Number.isSafeInteger(bytes) ? bytes : undefined,
    modifiedMs: parseFtpTime(facts.get('modify') ?? ''),
    facts
  }
}

/** Milliseconds since the epoch of `YYYYMMDDHHMMSS` in UTC, undefined if the text is not a time. */
export function parseFtpTime(text: string): number | undefined {
  const match = TIME.exec(text)
  if (match === null) return undefined
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match
    .slice(1)
    .map(Number)
  return Date.UTC(year, month - 1, day, hour, minute, second)
}

function entryType(type: string | undefined): ListedEntry['type'] {
  const lower = type?.toLowerCase()
  if (lower === undefined || lower === 'file') return 'file'
  return lower === 'dir' || lower === 'cdir' || lower === 'pdir' ? 'directory' : 'other'
}
