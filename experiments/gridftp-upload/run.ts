import { appendFile, chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { KIB, MIB } from '../../src/lib/bytes.ts'
import { projectFile } from '../support/agent-process.ts'
import { round } from '../support/figures.ts'
import { lineChart } from '../support/line-chart.ts'
import {
  carryFiles,
  carrySmallFiles,
  type Place,
  type Run,
  type Setting,
  uploadAndCheck,
  warmMemory,
  watchMemory
} from './cells.ts'
import { SERVER_NAMES, type ServerName, stopRunningServers } from './servers.ts'
import { medianRate, memoryTable, rateTable, smallTable } from './tables.ts'

// Our GridFTP server against globus-gridftp-server: see README.md.

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    cells: { type: 'string', default: 'blocks,streams,clients,small,depth,checksum,memory' },
    repetitions: { type: 'string' },
    mib: { type: 'string' },
    files: { type: 'string' },
    folder: { type: 'string', default: '/dev/shm' },
    profile: { type: 'string' }
  }
})
const repetitions = Number(values.repetitions ?? (values.quick ? 1 : 3))
const mib = Number(values.mib ?? (values.quick ? 128 : 1024))
const fileCount = Number(values.files ?? (values.quick ? 500 : 10_000))
const results = projectFile('experiments/gridftp-upload/results')

/** The options that the budget is about. */
const USUAL = '-p 2 -bs 4194304'
const COLORS: Record<ServerName, string> = { blobswarm: '#1f77b4', globus: '#ff7f0e' }

type Work = (place: Place, server: ServerName, setting: Setting) => Promise<Run[]>

interface Cell {
  readonly title: string
  readonly settings: readonly Setting[]
  readonly servers?: readonly ServerName[]
  readonly work: Work
  readonly table: (runs: readonly Run[]) => string
  /** Label of the plot's axis, if there is one. */
  readonly axis?: string
}

/** A setting with one usual client, but for what is given. */
function setting(name: string, x: number, other: Partial<Setting> = {}): Setting {
  return { name, x, options: USUAL, clients: 1, mib, ...other }
}

const CELLS: Record<string, Cell> = {
  blocks: {
    title: 'Block size, two streams',
    settings: [256 * KIB, MIB, 4 * MIB, 16 * MIB, 64 * MIB].map((bytes) => {
      const x = bytes / MIB
      const name = x < 1 ? `${bytes / KIB} KiB` : `${x} MiB`
      return setting(name, x, { options: `-p 2 -bs ${bytes}` })
    }),
    work: carryFiles,
    table: rateTable,
    axis: 'block size, MiB'
  },
  streams: {
    title: 'Streams, blocks of 4 MiB',
    settings: [1, 2, 4, 8].map((x) => setting(`${x}`, x, { options: `-p ${x} -bs 4194304` })),
    work: carryFiles,
    table: rateTable,
    axis: 'streams'
  },
  clients: {
    title: 'Clients at once, two streams each (sum)',
    settings: [1, 2, 4, 8].map((x) => setting(`${x}`, x, { clients: x })),
    work: carryFiles,
    table: rateTable,
    axis: 'clients'
  },
  small: {
    title: `${fileCount} files of 4 KiB`,
    settings: [setting('files', 1, { mib: fileCount })],
    work: carrySmallFiles,
    table: smallTable
  },
  depth: {
    title: 'Blocks handed to the storage at once',
    settings: [
      setting('queueDepth 1', 1, { settings: ['gridftp.queueDepth=1'] }),
      setting('default', 2)
    ],
    servers: ['blobswarm'],
    work: carryFiles,
    table: rateTable
  },
  checksum: {
    title: 'Upload, at the Globus server followed by openssl dgst -sha256',
    settings: [setting('up and checksum', 1)],
    work: uploadAndCheck,
    table: rateTable
  },
  memory: {
    title: `Memory and processor time of ${4 * mib} MiB`,
    settings: [setting(`${4 * mib} MiB`, 1, { mib: 4 * mib })],
    work: watchMemory,
    table: memoryTable
  }
}

const folder = await mkdtemp(join(values.folder, 'blobswarm-gridftp-'))
const place: Place = {
  folder,
  warmUpMib: values.quick ? 64 : 128,
  profileFolder: values.profile
}
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void stopServers().finally(() => process.exit(1)))
}
try {
  await chmod(folder, 0o755) // the Globus server serves it as nobody
  await mkdir(results, { recursive: true })
  const what = `${values.cells}; ${repetitions} repetitions; load ${loadavg()[0]?.toFixed(2)}`
  await show(`# ${new Date().toISOString().slice(0, 16)}: ${what}\n`)
  await warmMemory(place, (mib * 6) / 1024)
  for (const name of values.cells.split(',')) await runCell(name)
} finally {
  await rm(folder, { recursive: true, force: true })
}

/** Only when a signal ends the experiment. */
async function stopServers(): Promise<void> {
  await stopRunningServers()
  await rm(folder, { recursive: true, force: true })
}

async function runCell(name: string): Promise<void> {
  const cell = CELLS[name]
  if (cell === undefined) throw new Error(`there is no cell "${name}"`)
  const { title, settings, servers = SERVER_NAMES, work, table, axis } = cell
  const runs: Run[] = []
  for (let repetition = 0; repetition < repetitions; repetition++) {
    for (const one of settings) {
      // A B, then B A: neither server has the better place.
      const inTurn = repetition % 2 === 0 ? servers : servers.toReversed()
      for (const server of inTurn) {
        const done = await work(place, server, one)
        await record(name, done)
        runs.push(...done)
      }
    }
  }
  await show(`\n## ${title}, medians of ${repetitions}\n\n${table(runs)}`)
  if (axis !== undefined && !values.quick) await plot(name, { title, x: axis, y: 'MiB/s' }, runs)
}

async function record(cell: string, runs: readonly Run[]): Promise<void> {
  const lines = runs.map((run) => {
    const rounded = Object.entries(run).map(([key, value]) => {
      return [key, typeof value === 'number' ? round(value, 3) : value]
    })
    return `${JSON.stringify({ cell, ...Object.fromEntries(rounded) })}\n`
  })
  process.stderr.write(lines.join(''))
  if (!values.quick) await appendFile(join(results, 'runs.jsonl'), lines.join(''))
}

async function plot(
  name: string,
  labels: Parameters<typeof lineChart>[0],
  runs: readonly Run[]
): Promise<void> {
  const series = (['up', 'down'] as const).flatMap((direction) =>
    SERVER_NAMES.map((server) => {
      const own = runs.filter((run) => run.direction === direction && run.server === server)
      const points = Map.groupBy(own, ({ x }) => x)
      return {
        name: `${server}, ${direction}`,
        color: COLORS[server],
        isDashed: direction === 'down',
        at: Array.from(points, ([x, some]) => ({ x, y: medianRate(some) }))
      }
    })
  )
  const file = projectFile(`experiments/gridftp-upload/${name}.svg`)
  await writeFile(file, lineChart(labels, series))
}

/** Prints, and keeps what a whole run says. */
async function show(text: string): Promise<void> {
  process.stdout.write(text)
  if (!values.quick) await appendFile(join(results, 'tables.md'), text)
}
