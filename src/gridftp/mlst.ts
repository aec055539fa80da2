import type { FileStatus } from './dsi.ts'

/** Facts that MLST and MLSD can show, in the order of the FEAT line. */
export const MLST_FACTS = ['Type', 'Size', 'Modify', 'Perm', 'Unique', 'UNIX.mode'] as const

/** Name of one fact. */
export type MlstFact = (typeof MLST_FACTS)[number]

/** What a listing line is about: an entry, the listed directory itself, or the one above. */
export type EntryRole = 'entry' | 'self' | 'parent'

/** How facts are shown to one session. */
export interface FactView {
  /** Facts that the client wants, by OPTS MLST. */
  readonly facts: ReadonlySet<MlstFact>
  readonly mayWrite: boolean
}

/** Parses the list of OPTS MLST; unknown names are left out. @see RFC 3659 §7.9 */
export function parseFacts(list: string): Set<MlstFact> {
  const wanted = new Set(list.split(';').map((name) => name.trim().toLowerCase()))
  return new Set(MLST_FACTS.filter((fact) => wanted.has(fact.toLowerCase())))
}

/** `Type*;Size*;…` for FEAT: a star after what is shown. */
export function formatFactList(shown: ReadonlySet<MlstFact>): string {
  return MLST_FACTS.map((fact) => `${fact}${shown.has(fact) ? '*' : ''};`).join('')
}

/**
 * Formats one entry as `Type=file;Size=3; name`, without indent and line end.
 *
 * @param name what stands after the facts: a name in MLSD, the path as asked in MLST.
 * @see RFC 3659 §7.2
 */
export function formatMlst(
  status: FileStatus,
  name: string,
  view: FactView,
  role: EntryRole = 'entry'
): string {
  const facts = MLST_FACTS.filter((fact) => view.facts.has(fact)).map(
    (fact) => `${fact}=${factValue(fact, status, view.mayWrite, role)};`
  )
  return `${facts.join('')} ${name}`
}

/** `YYYYMMDDHHMMSS` in UTC. @see RFC 3659 §2.3 */
export function formatTime(timeMs: number): string {
  return new Date(timeMs).toISOString().replaceAll(/[-:T]/g, '').slice(0, 14)
}

/**
 * Parses `YYYYMMDDHHMMSS`, with a fraction of a second or not, in UTC.
 *
 * @returns milliseconds since the epoch; undefined if it is no time.
 */
export function parseTime(text: string): number | undefined {
  const match = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\.\d{1,9})?$/.exec(text)
  if (match === null) return undefined
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match
    .slice(1, 7)
    .map(Number)
  const timeMs = Date.UTC(year, month - 1, day, hour, minute, second)
  const isTime = formatTime(timeMs) === text.slice(0, 14) // no 31st of February
  return isTime ? timeMs + Math.trunc(Number(match[7] ?? 0) * 1000) : undefined
}

const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ')
const RECENT_MS = 180 * 24 * 3600 * 1000

/** Formats one entry as `ls -l` does, times in UTC; people read it, and old clients parse it. */
export function formatListLine(status: FileStatus, nowMs: number, mayWrite: boolean): string {
  const mode = status.type === 'directory' ? 'drwxr-xr-x' : '-rw-r--r--'
  const shownMode = canWrite(status, mayWrite) ? mode : mode.replace('w', '-')
  const links = status.type === 'directory' ? 2 : 1
  const size = String(status.bytes).padStart(12)
  const time = listTime(status.modifiedMs, nowMs)
  return `${shownMode}   ${links} blobs    blobs    ${size} ${time} ${status.name}`
}

function listTime(timeMs: number, nowMs: number): string {
  const time = new Date(timeMs)
  const day = `${MONTHS[time.getUTCMonth()]} ${String(time.getUTCDate()).padStart(2)}`
  const isRecent = timeMs <= nowMs && timeMs > nowMs - RECENT_MS
  const clock = time.toISOString().slice(11, 16)
  return `${day} ${isRecent ? clock : String(time.getUTCFullYear()).padStart(5)}`
}

function factValue(fact: MlstFact, status: FileStatus, mayWrite: boolean, role: EntryRole): string {
  const values: Record<MlstFact, () => string> = {
    Type: () => typeFact(status, role),
    Size: () => String(status.bytes),
    Modify: () => formatTime(status.modifiedMs),
    Perm: () => permFact(status, mayWrite),
    Unique: () => status.unique,
    'UNIX.mode': () => modeFact(status, mayWrite)
  }
  return values[fact]()
}

function typeFact(status: FileStatus, role: EntryRole): string {
  if (role === 'self') return 'cdir'
  if (role === 'parent') return 'pdir'
  return status.type === 'directory' ? 'dir' : 'file'
}

/** @see RFC 3659 §7.5.5 */
function permFact(status: FileStatus, mayWrite: boolean): string {
  const writable = canWrite(status, mayWrite)
  if (status.type === 'directory') return writable ? 'cdeflmp' : 'el'
  return writable ? 'adfrw' : 'r'
}

function modeFact(status: FileStatus, mayWrite: boolean): string {
  const writable = canWrite(status, mayWrite)
  if (status.type === 'directory') return writable ? '0755' : '0555'
  return writable ? '0644' : '0444'
}

function canWrite(status: FileStatus, mayWrite: boolean): boolean {
  return mayWrite && !status.readOnly
}
