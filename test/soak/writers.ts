/**
 * The test of concurrent writers over the wire, for longer: node test/soak/writers.ts [--rounds N]
 * [--seed N]. A round is one fault; about ten seconds.
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '60' }, seed: { type: 'string' } }
})
const JEST = fileURLToPath(new URL('../../node_modules/jest/bin/jest.js', import.meta.url))
const FLAGS = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning']
const SELECTED = ['--selectProjects', 'system', '--testPathPatterns', 'concurrent-writers']

const { status } = spawnSync(process.execPath, [...FLAGS, JEST, ...SELECTED], {
  stdio: 'inherit',
  env: {
    ...process.env,
    WRITERS_ROUNDS: values.rounds,
    ...(values.seed === undefined ? {} : { WRITERS_SEED: values.seed })
  }
})
process.exitCode = status ?? 1
