import { chmod, mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { MIB } from '../../src/lib/bytes.ts'
import { PeakMemory } from '../support/process-tree.ts'
import { type MeasuredServer, type ServerName, startServer } from './servers.ts'
import {
  globusUrlCopy,
  type Measured,
  measure,
  mustBeEqual,
  sha256OfFile,
  writeFreshFile,
  writeFreshFolder
} from './transfers.ts'

/** One row of a table: the same work for both servers. */
export interface Setting {
  /** What the row is called, and where it stands on a plot's axis. */
  readonly name: string
  readonly x: number
  /** Options of globus-url-copy. */
  readonly options: string
  /** Clients at the same time, each with its share of `mib`. */
  readonly clients: number
  readonly mib: number
  /** Settings of our agent, `key=value`. */
  readonly settings?: readonly string[]
}

export type Direction = 'up' | 'down' | 'up and checksum' | 'fast' | 'pp'

/** What one server did once. */
export interface Run extends Measured {
  readonly setting: string
  readonly x: number
  readonly server: ServerName
  readonly direction: Direction
  /** MiB, or files where they are small. */
  readonly amount: number
  readonly reusedBytes: number
  readonly peakMib?: number
}

/** Where cells work, and how. */
export interface Place {
  /** On a tmpfs. */
  readonly folder: string
  readonly warmUpMib: number
  readonly profileFolder?: string | undefined
}

/** A server of its own for one run, which both ends have warmed up for. */
async function withServer<T>(
  place: Place,
  name: ServerName,
  setting: Pick<Setting, 'settings' | 'options'>,
  work: (server: MeasuredServer) => Promise<T>
): Promise<T> {
  const { folder, warmUpMib, profileFolder } = place
  const { settings, options } = setting
  const server = await startServer(name, { folder: join(folder, name), settings, profileFolder })
  try {
    const file = join(folder, 'warm')
    for (let round = 0; round < 2; round++) {
      await writeFreshFile(file, warmUpMib)
      await globusUrlCopy(options, `file://${file}`, server.url(`/warm-${round}`))
      await globusUrlCopy(options, server.url(`/warm-${round}`), `file://${file}.copy`)
    }
    await rm(file)
    await rm(`${file}.copy`)
    return await work(server)
  } finally {
    await server.stop()
  }
}

/** Uploads files and downloads them again, some clients at a time. */
export async function carryFiles(place: Place, name: ServerName, setting: Setting): Promise<Run[]> {
  const { options, clients } = setting
  const mib = Math.round(setting.mib / clients)
  const files = Array.from({ length: clients }, (_, index) => join(place.folder, `source-${index}`))
  for (const file of files) await writeFreshFile(file, mib)
  const all = async (one: (file: string, path: string) => Promise<void>): Promise<void> => {
    await Promise.all(files.map(async (file, index) => one(file, `/image-${index}`)))
  }
  try {
    return await withServer(place, name, setting, async (server) => {
      const up = await measure(server, async () =>
        all(async (file, path) => globusUrlCopy(options, `file://${file}`, server.url(path)))
      )
      const down = await measure(server, async () =>
        all(async (file, path) => globusUrlCopy(options, server.url(path), `file://${file}.copy`))
      )
      for (const file of files) await mustBeEqual(file, `${file}.copy`)
      const common = { ...row(setting, name), amount: mib * clients }
      const reusedBytes = await server.reusedBytes()
      return [
        { ...common, direction: 'up', reusedBytes, ...up },
        { ...common, direction: 'down', reusedBytes, ...down }
      ]
    })
  } finally {
    for (const file of files) await removeBoth(file)
  }
}

/** Uploads a file, and has its checksum where the server does not know it already. */
export async function uploadAndCheck(
  place: Place,
  name: ServerName,
  setting: Setting
): Promise<Run[]> {
  const file = join(place.folder, 'source')
  await writeFreshFile(file, setting.mib)
  try {
    return await withServer(place, name, setting, async (server) => {
      const stored = server.fileOf('/image')
      const taken = await measure(server, async () => {
        await globusUrlCopy(setting.options, `file://${file}`, server.url('/image'))
        if (stored !== undefined) await sha256OfFile(stored)
      })
      const reusedBytes = await server.reusedBytes()
      const common = { ...row(setting, name), amount: setting.mib, reusedBytes }
      return [{ ...common, direction: 'up and checksum', ...taken }]
    })
  } finally {
    await removeBoth(file)
  }
}

/** A large file up and down, and the memory that it took. */
export async function watchMemory(
  place: Place,
  name: ServerName,
  setting: Setting
): Promise<Run[]> {
  const file = join(place.folder, 'source')
  await writeFreshFile(file, setting.mib)
  try {
    return await withServer(place, name, setting, async (server) => {
      const common = { ...row(setting, name), amount: setting.mib }
      const runs: Run[] = []
      for (const direction of ['up', 'down'] as const) {
        const ends = [`file://${file}`, server.url('/image'), `file://${file}.copy`]
        const [from = '', to = ''] = direction === 'up' ? ends : ends.slice(1)
        const memory = new PeakMemory(server.pid)
        const taken = await measure(server, async () => globusUrlCopy(setting.options, from, to))
        const peakMib = await memory.end()
        const reusedBytes = await server.reusedBytes()
        runs.push({ ...common, direction, reusedBytes, ...taken, peakMib })
      }
      await mustBeEqual(file, `${file}.copy`)
      return runs
    })
  } finally {
    await removeBoth(file)
  }
}

const SMALL_BYTES = 4096

/** Many small files from a client, and from a Globus server to this one. */
export async function carrySmallFiles(
  place: Place,
  name: ServerName,
  setting: Setting
): Promise<Run[]> {
  const runs: Run[] = []
  for (const direction of ['fast', 'pp'] as const) {
    const run = await withServer(place, name, { options: '' }, async (server) =>
      direction === 'fast'
        ? await fromClient(place, server, setting.mib)
        : await fromGlobus(place, server, setting.mib)
    )
    runs.push({ ...row(setting, name), amount: setting.mib, direction, ...run })
  }
  return runs
}

type SmallRun = Measured & Pick<Run, 'reusedBytes'>

async function fromClient(place: Place, server: MeasuredServer, count: number): Promise<SmallRun> {
  const folder = join(place.folder, 'small')
  await writeFreshFolder(folder, count, SMALL_BYTES)
  try {
    const taken = await measure(server, async () =>
      globusUrlCopy('-fast -r -cd', `file://${folder}/`, server.url('/small/'))
    )
    return { ...taken, reusedBytes: await server.reusedBytes() }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function fromGlobus(place: Place, server: MeasuredServer, count: number): Promise<SmallRun> {
  const source = await startServer('globus', { folder: join(place.folder, 'third') })
  const folder = source.fileOf('/small') ?? ''
  try {
    await mkdir(folder, { recursive: true })
    await chmod(folder, 0o755)
    await writeFreshFolder(folder, count, SMALL_BYTES)
    const taken = await measure(server, async () =>
      globusUrlCopy('-pp -fast -r -cd', source.url('/small/'), server.url('/small/'))
    )
    return { ...taken, reusedBytes: await server.reusedBytes() }
  } finally {
    await source.stop()
  }
}

/** Writes and removes a file, so that what follows meets memory that the machine has already given. */
export async function warmMemory(place: Place, gib: number): Promise<void> {
  const file = join(place.folder, 'memory')
  await writeFreshFile(file, (gib * 1024 * MIB) / MIB)
  await rm(file)
}

function row({ name, x }: Setting, server: ServerName): Pick<Run, 'setting' | 'x' | 'server'> {
  return { setting: name, x, server }
}

async function removeBoth(file: string): Promise<void> {
  await rm(file, { force: true })
  await rm(`${file}.copy`, { force: true })
}
