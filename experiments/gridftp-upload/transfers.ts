import { randomInt } from 'node:crypto'
import { mkdir, open, rm, writeFile } from 'node:fs/promises'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { MIB } from '../../src/lib/bytes.ts'
import { runProgram } from '../support/agent-process.ts'
import { SeededBytes } from '../support/image.ts'
import { timesBetween, timesOfTree } from '../support/process-tree.ts'
import { ProcessorUse } from '../support/processor.ts'
import type { MeasuredServer } from './servers.ts'

/** What one measured piece of work took. */
export interface Measured {
  readonly seconds: number
  /** Processor seconds of the server. */
  readonly user: number
  readonly system: number
  /** Share of the whole machine's processors that had nothing to do, 0 to 1. */
  readonly idle: number
  /** Load of the machine when it began. */
  readonly load: number
}

/** Measures work that a server does. */
export async function measure(
  server: MeasuredServer,
  work: () => Promise<void>
): Promise<Measured> {
  const [load = 0] = loadavg()
  const before = await timesOfTree(server.pid)
  const use = await ProcessorUse.begin([])
  const startedMs = performance.now()
  await work()
  const seconds = (performance.now() - startedMs) / 1000
  const { idle } = await use.end()
  const { user, system } = timesBetween(before, await timesOfTree(server.pid))
  return { seconds, user, system, idle, load }
}

/** Runs globus-url-copy. @throws {Error} with what it said if it fails. */
export async function globusUrlCopy(options: string, from: string, to: string): Promise<void> {
  const args = [...options.split(' ').filter((word) => word !== ''), from, to]
  await succeed('globus-url-copy', args)
}

/** @throws {Error} if two files differ. */
export async function mustBeEqual(one: string, other: string): Promise<void> {
  await succeed('cmp', [one, other])
}

export async function sha256OfFile(path: string): Promise<void> {
  await succeed('openssl', ['dgst', '-sha256', path])
}

/** Fresh random bytes, known nowhere. */
export async function writeFreshFile(path: string, mib: number): Promise<void> {
  const random = new SeededBytes(randomInt(2 ** 40))
  const file = await open(path, 'w')
  try {
    for (let index = 0; index < mib; index++) await file.write(random.next(MIB))
  } finally {
    await file.close()
  }
}

/** A folder of small files of fresh random bytes. */
export async function writeFreshFolder(
  folder: string,
  count: number,
  bytes: number
): Promise<void> {
  const random = new SeededBytes(randomInt(2 ** 40))
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
  for (let index = 0; index < count; index++) {
    await writeFile(join(folder, `file-${index}`), random.next(bytes))
  }
}

async function succeed(program: string, args: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await runProgram(program, args)
  if (code === 0) return
  throw new Error(`${program} ${args.join(' ')} ended with ${code}: ${stdout}${stderr}`)
}
