/**
 * Plays swarms with faults and hostile members on many more seeds than a test run has time for:
 * npm run soak:swarm -- [--runs N], N times as many as `npm test`. A failure prints the seed that
 * reproduces it: SIM_SEED=n npm test -- --selectProjects simulation. With --floods it is floods.ts instead.
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const args = process.argv.slice(2)
const hasFloods = args.includes('--floods')
const { values } = parseArgs({
  args: hasFloods ? [] : args,
  options: { runs: { type: 'string', default: '10' } }
})
const FLOODS = fileURLToPath(new URL('floods.ts', import.meta.url))
const JEST = fileURLToPath(new URL('../../node_modules/jest/bin/jest.js', import.meta.url))
const FLAGS = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning']
const SELECTED = ['--selectProjects', 'simulation', '--testPathPatterns', '(faults|hostile).sim']
const TIMEOUT = ['--testTimeout', String(24 * 3_600_000)]

const program = hasFloods
  ? [FLOODS, ...args.filter((arg) => arg !== '--floods')]
  : [...FLAGS, JEST, ...SELECTED, ...TIMEOUT]
const { status } = spawnSync(process.execPath, program, {
  stdio: 'inherit',
  env: { ...process.env, SIM_RUNS: values.runs }
})
process.exitCode = status ?? 1
