import { spawn } from 'node:child_process'
import { once } from 'node:events'

/** Something about the testbed cannot be done here; the message says what and why. */
export class TestbedError extends Error {
  constructor(message: string, options: ErrorOptions = {}) {
    super(message, options)
    this.name = 'TestbedError'
  }
}

const HINTS: readonly (readonly [pattern: RegExp, hint: string])[] = [
  [
    /tcp_congestion_control/,
    'hosts may have what the machine names in net.ipv4.tcp_allowed_congestion_control'
  ],
  [
    /Operation not permitted|mount --make-shared|Permission denied/,
    'this machine lets nobody make network namespaces (a container without CAP_SYS_ADMIN?)'
  ],
  [/qdisc kind is unknown/, 'this kernel has no token bucket filter (CONFIG_NET_SCH_TBF)'],
  [/File exists/, 'it is there already, which should not be']
]

/**
 * Runs `ip` or `tc`, with a command in each line of `lines` if given (`-batch`).
 *
 * @returns its standard output.
 * @throws {TestbedError} if it fails or is not installed.
 */
export async function iproute(
  program: 'ip' | 'tc',
  args: readonly string[],
  lines: readonly string[] = []
): Promise<string> {
  const isBatch = lines.length > 0
  const child = spawn(program, isBatch ? [...args, '-batch', '-'] : args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` }
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  child.stdin.on('error', () => {}) // it has ended early, which its exit code tells
  child.stdin.end(lines.map((line) => `${line}\n`).join(''))
  let code: unknown
  try {
    ;[code] = await once(child, 'close')
  } catch (cause) {
    const message = `${program} is not installed (Debian: apt-get install iproute2)`
    throw new TestbedError(message, { cause })
  }
  if (code === 0) return stdout
  const said = stderr.trim() || `it ended with ${String(code)}`
  const hint = HINTS.find(([pattern]) => pattern.test(said))?.[1]
  const why = hint === undefined ? said : `${hint}: ${said}`
  throw new TestbedError(`${[program, ...args].join(' ')}: ${why}`)
}

/** @throws {TestbedError} without root, iproute2 or tc. */
export async function checkMachine(): Promise<void> {
  if (process.geteuid?.() !== 0) throw new TestbedError('network namespaces need root')
  await Promise.all([iproute('ip', ['-V']), iproute('tc', ['-V'])])
}
