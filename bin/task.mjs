// Runs one of the project's tasks (start, demo, test …) on the bundled Node.js, installing what is missing first.
// Plain JavaScript for Node.js 20 and later: this is what a fresh machine starts with.
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const binaries = join(root, 'node_modules', '.bin')
const stamp = join(root, 'node_modules', '.blobswarm-installed')
const node = join(root, 'node_modules', 'node', 'bin', 'node')

const JEST = [
  '--experimental-vm-modules',
  '--disable-warning=ExperimentalWarning',
  join(root, 'node_modules', 'jest', 'bin', 'jest.js')
]

/** Task → arguments for the bundled Node.js. */
const TASKS = {
  start: ['experiments/demo/start.ts'],
  demo: ['experiments/demo/run.ts'],
  test: [...JEST, '--selectProjects', 'unit', 'simulation', 'system'],
  interop: [...JEST, '--selectProjects', 'interop', '--runInBand'],
  'experiment:chunk-store': ['experiments/chunk-store/run.ts'],
  'experiment:deployment': ['experiments/swarm-deployment/run.ts'],
  'experiment:gridftp-upload': ['experiments/gridftp-upload/run.ts'],
  'experiment:metadata': ['experiments/metadata/run.ts'],
  'experiment:providers': ['experiments/providers/run.ts'],
  'soak:upload': ['experiments/upload-memory/run.ts'],
  'soak:agents': ['test/soak/agents.ts'],
  'soak:collection': ['test/soak/collection.ts'],
  'soak:metadata': ['test/soak/metadata.ts'],
  'soak:providers': ['test/soak/providers.ts'],
  'soak:swarm': ['test/soak/swarm.ts'],
  'soak:writers': ['test/soak/writers.ts']
}

const [name, ...rest] = process.argv.slice(2)
const task = TASKS[name]
if (task === undefined) {
  process.stderr.write(`unknown task "${name}"; there are: ${Object.keys(TASKS).join(', ')}\n`)
  process.exit(2)
}
installWhatIsMissing()
const child = spawn(node, [...task, ...rest], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, PATH: `${binaries}${delimiter}${process.env.PATH ?? ''}` }
})
// Ctrl-C reaches the child through the terminal; a signal to this process alone is passed on.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => child.kill('SIGTERM'))
child.on('exit', (code, signal) => {
  process.exitCode = code ?? (signal === 'SIGINT' ? 130 : 143)
})

/** Once, and again only when package.json changes. */
function installWhatIsMissing() {
  const wanted = createHash('sha256').update(readFileSync(join(root, 'package.json'))).digest('hex')
  if (existsSync(node) && existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return
  process.stderr.write('installing packages (first run only) …\n')
  // Not `npm ci`: it refuses a lock file that lacks other platforms' optional binaries.
  const npm = spawnSync('npm', ['install', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 2, 2]
  })
  if (npm.status !== 0 || !existsSync(node)) {
    process.stderr.write('npm install failed; nothing was run\n')
    process.exit(1)
  }
  writeFileSync(stamp, wanted)
}
