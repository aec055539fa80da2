import { ProgramError, type RunResult, run } from '../../support/programs.ts'
import { type ServerUnderTest, urlOf } from './bench.ts'

/** One run of globus-url-copy. */
export interface GlobusRun extends RunResult {
  /** Commands that it sent after its login, one a line, to all servers or to one. */
  readonly sent: (server?: ServerUnderTest) => string
  /** Last lines of the replies, one a line, in the order of their arrival. */
  readonly replies: string
}

/** @param options separated by blanks. */
export async function runGlobus(
  options: string,
  urls: readonly string[],
  timeoutMs = 20_000
): Promise<GlobusRun> {
  const flags = options.split(' ').filter((flag) => flag !== '')
  const result = await run('globus-url-copy', ['-dbg', ...flags, ...urls], { timeoutMs })
  return { ...result, sent: sentIn(result.stderr), replies: repliesIn(result.stderr) }
}

/** The same for a run that must succeed. @throws {ProgramError} if it does not. */
export async function globusUrlCopy(
  options: string,
  ...urls: readonly string[]
): Promise<GlobusRun> {
  const result = await runGlobus(options, urls)
  if (result.exitCode === 0) return result
  const what = `globus-url-copy ${options} ${urls.join(' ')}: exit code ${result.exitCode}`
  throw new ProgramError(what, result)
}

/** `file://` URL of a local path. */
export function fileUrl(path: string): string {
  return `file://${path}`
}

/** Sent before every operation, whatever it is. */
const PREAMBLE = /^(?:SITE (?:HELP|CLIENTINFO)|FEAT|TYPE)/

function sentIn(log: string): GlobusRun['sent'] {
  const found = Array.from(
    log.matchAll(/^debug: sending command to (.+):\r?\n(.*)$/gm),
    ([, url = '', command = '']) => ({ url, command: command.trim() })
  ).filter(({ command }) => !PREAMBLE.test(command))
  return (server) => {
    const start = server === undefined ? '' : urlOf({ ...server, root: '' }, '/')
    const own = found.filter(({ url }) => url.startsWith(start))
    return own.map(({ command }) => command).join('\n')
  }
}

function repliesIn(log: string): string {
  const lines = log.matchAll(/^debug: response from .+:\r?\n((?:.+\r?\n)+)/gm)
  return Array.from(lines, ([, reply = '']) => reply.trimEnd().split('\n').at(-1)).join('\n')
}
