import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { formatTable } from '../../src/agent/commands/format.ts'
import { TestbedError } from './iproute.ts'
import { burstBytes, type LinkLimit } from './link-limit.ts'
import { findTestbeds, removeLeftovers } from './namespace-names.ts'
import { transfer } from './tcp-transfer.ts'
import { addressOf, Testbed } from './testbed.ts'

// The testbed by hand: see README.md.

const USAGE = `usage: node experiments/testbed/run.ts COMMAND
  up N [--rate [HOST=]UP[/DOWN]]… [--mtu 1500] [--queue-ms 100] [--congestion NAME]   rates in Mbit/s, 0: no limit
  exec HOST COMMAND…      runs a command on a host
  list                    all testbeds of this machine
  down                    ends what runs on the hosts, removes them and what killed runs have left
  measure [--rates 10,50,100,200,400,1000] [--seconds 3] [--mtu 1500]   what links of such rates really carry`

/** Label of the testbed that is made by hand: there is one at a time. */
const LABEL = 'hand'
const DOWN_WITHIN_MS = 20_000
const PROGRAM = fileURLToPath(import.meta.url)

try {
  const [command = '', ...rest] = process.argv.slice(2)
  process.exitCode = await run(command, rest)
} catch (error) {
  const isExpected = error instanceof TestbedError || error instanceof RangeError
  if (!isExpected && !(error instanceof TypeError && 'code' in error)) throw error
  process.stderr.write(`${error.message}\n`)
  process.exitCode = 1
}

async function run(command: string, args: string[]): Promise<number> {
  switch (command) {
    case 'up':
      return up(args)
    case 'hold':
      return hold(args)
    case 'exec':
      return execute(args)
    case 'list':
      return list()
    case 'down':
      return down()
    case 'measure':
      return measure(args)
    default:
      process.stderr.write(`${USAGE}\n`)
      return 2
  }
}

/** The testbed belongs to a process that waits in the background until it is told to end. */
async function up(args: readonly string[]): Promise<number> {
  optionsOf(args)
  const isUp = (await findTestbeds()).some((it) => it.isOwnerAlive && it.owner.label === LABEL)
  if (isUp) throw new TestbedError('a testbed is up already: take it down first')
  const holder = spawn(process.execPath, [PROGRAM, 'hold', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true
  })
  const outcome = Promise.withResolvers<number>()
  createInterface({ input: holder.stdout }).on('line', (line) => {
    process.stdout.write(`${line}\n`)
    if (line.startsWith('up:')) outcome.resolve(0)
  })
  holder.stderr.pipe(process.stderr)
  holder.once('exit', () => outcome.resolve(1))
  const code = await outcome.promise
  holder.unref()
  holder.stdout.destroy()
  holder.stderr.destroy()
  return code
}

async function hold(args: readonly string[]): Promise<number> {
  const { hosts, limit, mtu, queueMs, congestion } = optionsOf(args)
  await Testbed.up({ hosts, limit, mtu, queueMs, congestion, label: LABEL })
  process.stdout.write(`up: ${hosts} hosts, ${addressOf(0)} to ${addressOf(hosts - 1)}\n`)
  // Nothing else keeps the process; SIGTERM takes the testbed down and ends it.
  for (;;) await sleep(1_000_000)
}

async function execute(args: readonly string[]): Promise<number> {
  const [host = '', ...command] = args
  if (!/^\d+$/.test(host) || command.length === 0) throw new TestbedError(USAGE)
  const { prefix } = await Testbed.find(LABEL)
  const argv = ['netns', 'exec', `${prefix}-${Number(host)}`, ...command]
  const [code] = (await once(spawn('ip', argv, { stdio: 'inherit' }), 'close')) as [number | null]
  return code ?? 1
}

async function list(): Promise<number> {
  const rows = (await findTestbeds()).map(({ owner, names, isOwnerAlive }) => [
    String(owner.pid),
    owner.label,
    String(names.filter((name) => !name.endsWith('-hub')).length),
    isOwnerAlive ? 'up' : 'left over'
  ])
  process.stdout.write(`${formatTable(['OWNER', 'LABEL', 'HOSTS', 'STATE'], rows)}\n`)
  return 0
}

async function down(): Promise<number> {
  const left = await removeLeftovers()
  for (const pid of left) process.stdout.write(`removed what process ${pid} had left\n`)
  const isThere = async (): Promise<boolean> =>
    (await findTestbeds()).some(({ owner }) => owner.label === LABEL)
  if (!(await isThere())) return 0
  const { pid } = await Testbed.find(LABEL)
  process.kill(pid, 'SIGTERM')
  for (const endMs = performance.now() + DOWN_WITHIN_MS; await isThere(); await sleep(50)) {
    if (performance.now() > endMs) throw new TestbedError(`process ${pid} does not take it down`)
  }
  return 0
}

async function measure(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rates: { type: 'string', default: '10,50,100,200,400,1000' },
      seconds: { type: 'string', default: '3' },
      mtu: { type: 'string', default: '1500' }
    }
  })
  const mtu = Number(values.mtu)
  const seconds = Number(values.seconds)
  const rows: string[][] = []
  const testbed = await Testbed.up({ hosts: 2, mtu, label: 'measure' })
  try {
    for (const rate of values.rates.split(',').map(Number)) {
      await testbed.setLimits(() => ({ upMbit: rate, downMbit: rate }))
      const [before] = await testbed.wire()
      const { mbit, seconds: took } = await transfer(testbed, 0, 1, (rate * 1e6 * seconds) / 8)
      const [after] = await testbed.wire()
      const sent = (after?.sentBytes ?? 0) - (before?.sentBytes ?? 0)
      const wire = (sent * 8) / 1e6 / took
      const burst = `${Math.round(burstBytes(rate, mtu) / 1000)} kB`
      rows.push([String(rate), burst, mbit.toFixed(1), wire.toFixed(1), (wire / rate).toFixed(3)])
    }
  } finally {
    await testbed.down()
  }
  const head = ['rate', 'burst', 'payload Mbit/s', 'wire Mbit/s', 'of the rate']
  process.stdout.write(`${formatTable(head, rows)}\n`)
  return 0
}

interface UpOptions {
  readonly hosts: number
  readonly limit: (host: number) => LinkLimit
  readonly mtu: number
  readonly queueMs: number
  readonly congestion: string | undefined
}

function optionsOf(args: readonly string[]): UpOptions {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      rate: { type: 'string', multiple: true, default: [] },
      mtu: { type: 'string', default: '1500' },
      'queue-ms': { type: 'string', default: '100' },
      congestion: { type: 'string' }
    }
  })
  const [count = ''] = positionals
  if (!/^\d+$/.test(count) || positionals.length > 1) throw new TestbedError(USAGE)
  const limits = new Map(values.rate.map(parseRate))
  return {
    hosts: Number(count),
    limit: (host) => limits.get(host) ?? limits.get('all') ?? {},
    mtu: Number(values.mtu),
    queueMs: Number(values['queue-ms']),
    congestion: values.congestion
  }
}

/** `50`, `50/10`, `0=1000/0`. */
function parseRate(text: string): readonly [number | 'all', LinkLimit] {
  const groups = /^(?:(?<host>\d+)=)?(?<up>[\d.]+)(?:\/(?<down>[\d.]+))?$/.exec(text)?.groups
  if (groups === undefined) throw new TestbedError(`rate ${text}: [HOST=]UP[/DOWN] in Mbit/s`)
  const { host, up: there = '', down: back = there } = groups
  const limit = { upMbit: Number(there) || undefined, downMbit: Number(back) || undefined }
  return [host === undefined ? 'all' : Number(host), limit]
}
