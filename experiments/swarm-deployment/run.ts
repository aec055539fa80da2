import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { projectFile } from '../support/agent-process.ts'
import { round } from '../support/figures.ts'
import { TestbedError } from '../testbed/iproute.ts'
import { type Deployment, deploy, type RunResult } from './deploy.ts'
import { keepHostMemory } from './host-memory.ts'
import { matrix, only } from './matrix.ts'
import { type Method, methodsOf } from './methods.ts'
import { keyOf, Results } from './results.ts'
import { nameOf, SCENARIOS, type Scenario, type Setting } from './setting.ts'
import { headLine, runLine } from './table.ts'
import { appendTrace, describeTrace } from './trace.ts'

// An image to many hosts, ours beside others: see README.md.

const USAGE = `usage: node experiments/swarm-deployment/run.ts
  [--scenario ${SCENARIOS.join('|')}] [--hosts 8] [--rate 50] [--mib 128] [--mtu 1500]
  [--methods ours,aria2,libtorrent] [--runs 1] [--set key=value]… [--warm-up MIB] [--congestion cubic]
  [--slow 5] [--die-after 1.2] [--kill-every 3] [--trace FILE] [--results FILE]
  --matrix [--only 8x50,16x25…] [--methods …] [--runs 3]   everything that the README shows, continued where it ended`

const { values } = parseArgs({
  options: {
    scenario: { type: 'string', default: 'all-at-once' },
    methods: { type: 'string' },
    hosts: { type: 'string' },
    rate: { type: 'string', default: '50' },
    mib: { type: 'string', default: '128' },
    mtu: { type: 'string', default: '1500' },
    runs: { type: 'string' },
    set: { type: 'string', multiple: true, default: [] },
    congestion: { type: 'string', default: 'cubic' },
    slow: { type: 'string', default: '5' },
    'die-after': { type: 'string', default: '1.2' },
    'kill-every': { type: 'string', default: '3' },
    'warm-up': { type: 'string', default: '64' },
    matrix: { type: 'boolean', default: false },
    only: { type: 'string' },
    trace: { type: 'string' },
    results: { type: 'string' },
    help: { type: 'boolean', default: false }
  }
})
const today = new Date().toISOString().slice(0, 10)
const results = new Results(
  values.results ??
    projectFile(
      'experiments/swarm-deployment/results',
      values.matrix ? `${today}.jsonl` : 'runs.jsonl'
    )
)

/** A signal takes the testbed down and ends the process; what fails meanwhile is no news. */
const ENDED_WITHIN_MS = 20_000
let isEnding = false
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => (isEnding = true))
}

try {
  if (values.help) print(USAGE)
  else await main()
} catch (error) {
  if (isEnding) await sleep(ENDED_WITHIN_MS)
  if (!(error instanceof TestbedError || error instanceof RangeError)) throw error
  process.stderr.write(`${error.message}\n`)
  process.exitCode = 1
}

interface Plan {
  readonly cells: readonly Setting[]
  readonly methods: readonly Method[]
  /** Of each cell with each method. */
  readonly runs: number
  /** Keys of runs that are there already. */
  readonly made: ReadonlySet<string>
}

async function main(): Promise<void> {
  const methods = methodsOf(values.methods ?? (values.matrix ? 'ours,aria2,libtorrent' : 'ours'))
  const runs = numberOf(values.runs ?? (values.matrix ? '3' : '1'), 'runs')
  const setting = settingOf()
  const cells = values.matrix ? only(matrix(setting), values.only) : [setting]
  const made = new Set(values.matrix ? (await results.all()).map(keyOf) : [])
  const letMemoryGo = await keepHostMemory(cells)
  try {
    await measureAll({ cells, methods, runs, made })
  } finally {
    await letMemoryGo()
  }
}

async function measureAll({ cells, methods, runs, made }: Plan): Promise<void> {
  print(headLine())
  for (const cell of cells) {
    for (let run = 1; run <= runs; run++) {
      // In turn, so that whatever else the machine does meets all alike.
      for (const method of methods) {
        const key = keyOf({ ...cell, method: method.name, run })
        if (isEnding) return void (process.exitCode = 1)
        if (!made.has(key)) await measure(cell, method, run)
      }
    }
  }
}

/** A run that fails is told and not kept, so that the matrix makes it again. */
async function measure(setting: Setting, method: Method, run: number): Promise<void> {
  try {
    const deployment = await deployBeside(setting, method, run)
    await results.add(deployment.result)
    tell(deployment)
    if (values.trace !== undefined) await appendTrace(values.trace, deployment)
  } catch (error) {
    if (isEnding || !values.matrix || error instanceof TestbedError) throw error
    process.stderr.write(`${method.name} ${nameOf(setting)} run ${run}: ${String(error)}\n`)
    process.exitCode = 1
  }
}

/** Where a host is slow, first the same without it. */
async function deployBeside(setting: Setting, method: Method, run: number): Promise<Deployment> {
  const options = { run, isTraced: values.trace !== undefined }
  if (setting.scenario !== 'slow-host') return deploy(setting, method, options)
  const others: Setting = { ...setting, scenario: 'all-at-once', hosts: setting.hosts - 1 }
  const without = await deploy(others, method, options)
  tell(without)
  const { result, samples } = await deploy(setting, method, options)
  const withoutSeconds = lastOf(without.result)
  const lastSeconds = lastOf(result)
  const delay = result.unfinished === 0 ? round(lastSeconds / withoutSeconds, 3) : undefined
  return { result: { ...result, withoutSeconds, delay }, samples }
}

function tell(deployment: Deployment): void {
  const { result, samples } = deployment
  print(runLine(result))
  if (result.story !== undefined) print(`  ${JSON.stringify(result.story)}`)
  for (const note of result.notes) print(`  ${note}`)
  if (samples.length > 0) print(describeTrace(deployment))
}

function lastOf({ doneSeconds }: RunResult): number {
  return doneSeconds.at(-1) ?? 0
}

function settingOf(): Setting {
  const scenario = SCENARIOS.find((it) => it === values.scenario)
  if (scenario === undefined) throw new RangeError(`no scenario ${values.scenario}\n${USAGE}`)
  return {
    scenario,
    hosts: hostsOf(scenario),
    rateMbit: numberOf(values.rate, 'rate'),
    mib: numberOf(values.mib, 'mib'),
    mtu: numberOf(values.mtu, 'mtu'),
    congestion: values.congestion,
    slowMbit: numberOf(values.slow, 'slow'),
    dieAfterCopies: numberOf(values['die-after'], 'die-after'),
    killEverySeconds: numberOf(values['kill-every'], 'kill-every'),
    warmUpMib: numberOf(values['warm-up'], 'warm-up'),
    set: values.set
  }
}

function hostsOf(scenario: Scenario): number {
  const hosts = numberOf(values.hosts ?? (scenario === 'one-host' ? '1' : '8'), 'hosts')
  const least = scenario === 'late' || scenario === 'slow-host' ? 2 : 1
  if (!Number.isSafeInteger(hosts) || hosts < least) {
    throw new RangeError(`${hosts} hosts: ${scenario} needs at least ${least}`)
  }
  return hosts
}

function numberOf(text: string, name: string): number {
  const value = Number(text)
  if (text !== '' && value >= 0 && value < Infinity) return value
  throw new RangeError(`--${name} ${text}: a number is needed\n${USAGE}`)
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}
