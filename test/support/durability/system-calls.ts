import type { FileEvent } from './flush-check.ts'

/** System calls that change files or make them durable, for `strace -e trace=`. */
export const TRACED_CALLS = [
  'openat',
  'creat',
  'mkdir',
  'mkdirat',
  'write',
  'pwrite64',
  'writev',
  'pwritev',
  'ftruncate',
  'rename',
  'renameat',
  'renameat2',
  'unlink',
  'unlinkat',
  'fsync',
  'fdatasync'
].join()

/** Options of strace that make it write what `readSystemCalls` reads; the file name comes behind them. */
export const STRACE_OPTIONS = ['-f', '-qq', '-y', '-s', '200', '-e', `trace=${TRACED_CALLS}`, '-o']

const LINE = /^(?<thread>\d+)\s+(?<rest>.*)$/
const UNFINISHED = /^(?<begun>\w+\(.*) <unfinished \.\.\.>$/
const RESUMED = /^<\.\.\. \w+ resumed>(?<end>.*)$/
const CALL = /^(?<name>\w+)\((?<parameters>.*)\)\s+= (?<result>-?\d+)/
const ACKNOWLEDGED = /"acknowledged (?<what>[^"\\]*)\\n"/
const WRITE = /^(?:write|pwrite64|writev|pwritev|ftruncate)\(/
const FLUSH = /^(?:fsync|fdatasync)\(/
const TEXT = /"(?<text>[^"]*)"/g
const FILE = /^\w+\(\d+<(?<path>\/[^>]*)>/

/**
 * Reads what strace wrote of a process and its threads. A line `acknowledged …` that the process prints
 * is the acknowledgement.
 */
export function readSystemCalls(trace: string): FileEvent[] {
  const begun = new Map<string, string>()
  return trace.split('\n').flatMap((line) => {
    const { thread = '', rest = '' } = LINE.exec(line)?.groups ?? {}
    const start = UNFINISHED.exec(rest)?.groups?.['begun']
    if (start !== undefined) {
      begun.set(thread, start)
      return eventsOfStart(start)
    }
    const end = RESUMED.exec(rest)?.groups?.['end']
    if (end === undefined) return eventsOfStart(rest).concat(eventsOfEnd(rest))
    const call = `${begun.get(thread) ?? ''}${end}`
    begun.delete(thread)
    const written = ACKNOWLEDGED.test(call) ? [] : eventsOfWrite(call)
    return written.concat(eventsOfEnd(call))
  })
}

/** What is so as soon as a call is made: bytes that may be there in part, what was printed. */
function eventsOfStart(call: string): FileEvent[] {
  const what = ACKNOWLEDGED.exec(call)?.groups?.['what']
  if (what !== undefined) return [{ kind: 'acknowledged', what }]
  const path = pathOf(call)
  if (path !== undefined && FLUSH.test(call)) return [{ kind: 'flushing', path }]
  return eventsOfWrite(call)
}

/** Bytes: a call that took a while counts when it begins and when it is over. */
function eventsOfWrite(call: string): FileEvent[] {
  const path = pathOf(call)
  return path !== undefined && WRITE.test(call) ? [{ kind: 'written', path }] : []
}

/** What is so once a call has come back well. */
function eventsOfEnd(call: string): FileEvent[] {
  const { name = '', parameters = '', result = '-' } = CALL.exec(call)?.groups ?? {}
  if (result.startsWith('-')) return []
  const texts = Array.from(parameters.matchAll(TEXT), (match) => match[1] ?? '')
  const [path = '', to = ''] = texts
  const flushed = pathOf(call)
  if (FLUSH.test(call)) return flushed === undefined ? [] : [{ kind: 'flushed', path: flushed }]
  if (name.startsWith('rename')) return [{ kind: 'renamed', from: path, path: to }]
  if (name.startsWith('unlink')) return [{ kind: 'removed', path }]
  const makes = name.startsWith('mkdir') || name === 'creat' || parameters.includes('O_CREAT')
  return makes ? [{ kind: 'made', path }] : []
}

/** The file that a call's first parameter names by its number. */
function pathOf(call: string): string | undefined {
  return FILE.exec(call)?.groups?.['path']
}
