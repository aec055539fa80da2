import { execFileSync, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { appendFile, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { KIB, MIB } from '../../src/lib/bytes.ts'
import { projectFile } from '../support/agent-process.ts'
import { ProcessorUse } from '../support/processor.ts'
import type { CellRequest, CellResult } from './cell.ts'
import { measureCompression, randomChunks, systemChunks } from './compression.ts'
import type { LayoutName } from './layouts.ts'
import { hasLmdb } from './lmdb-store.ts'

// How chunks should lie on a disk, and whether to compress them: see README.md.

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    million: { type: 'boolean', default: false },
    only: { type: 'string', default: 'rates,crash,compression' },
    layouts: { type: 'string', default: 'files,segments,lmdb' },
    repetitions: { type: 'string' },
    mib: { type: 'string' },
    count: { type: 'string', default: '1000000' },
    folder: { type: 'string', default: projectFile('experiments/chunk-store') },
    seed: { type: 'string' }
  }
})
const repetitions = Number(values.repetitions ?? (values.quick ? 1 : 3))
const cellMib = Number(values.mib ?? (values.quick ? 128 : 512))
const firstSeed = Number(values.seed ?? randomInt(1e6))
const parts = values.million ? ['million'] : values.only.split(',')
const results = projectFile('experiments/chunk-store/results')

installLmdb()
const layouts = (values.layouts.split(',') as LayoutName[]).filter(
  (layout) => layout !== 'lmdb' || hasLmdb()
)
// Not in /tmp: that may be memory, and fsync is what is measured.
const folder = await mkdtemp(join(values.folder, 'run-'))
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void rm(folder, { recursive: true }).then(() => process.exit(1)))
}
try {
  await mkdir(results, { recursive: true })
  print(`seeds from ${firstSeed}; load ${loadavg()[0]?.toFixed(2)}; data in ${folder}\n`)
  if (parts.includes('rates')) await rates()
  if (parts.includes('crash')) await crashes()
  if (parts.includes('million')) await million()
  if (parts.includes('compression')) await compression()
} finally {
  await rm(folder, { recursive: true, force: true })
}

/** Rates, one layout after the other in each repetition, so that all see the same disturbances. */
async function rates(): Promise<void> {
  for (const chunkBytes of [256 * KIB, 64 * KIB]) {
    const found = new Map<LayoutName, CellResult[]>()
    for (let repetition = 0; repetition < repetitions; repetition++) {
      for (const layout of layouts) {
        const seed = firstSeed + repetition
        const count = Math.floor((cellMib * MIB) / chunkBytes / (chunkBytes < 256 * KIB ? 4 : 1))
        const aloneCount = values.quick ? 60 : 200
        const cell = { kind: 'rates', layout, seed, chunkBytes, count, aloneCount } as const
        const result = await runCell({ ...cell, folder: await fresh(layout), isCold: true })
        found.set(layout, [...(found.get(layout) ?? []), result])
      }
    }
    print(`\n## ${chunkBytes / KIB} KiB, medians of ${repetitions}\n\n`)
    table(found)
  }
}

async function crashes(): Promise<void> {
  const found = new Map<LayoutName, CellResult[]>()
  for (const layout of layouts) {
    const chunkBytes = 64 * KIB
    const common = { layout, folder: await fresh(layout), seed: firstSeed, chunkBytes }
    const acknowledged = await killedWriter({ kind: 'crash-writer', count: 100_000, ...common })
    const check: CellRequest = { kind: 'crash-check', count: 0, acknowledged, ...common }
    found.set(layout, [await runCell(check)])
  }
  print('\n## kill -9 after 2 s of puts, 64 KiB\n\n')
  table(found)
}

async function million(): Promise<void> {
  const count = Number(values.count)
  const found = new Map<LayoutName, CellResult[]>()
  for (const layout of layouts) {
    const common = { layout, folder: await fresh(layout), seed: firstSeed, chunkBytes: 4 * KIB }
    const fill = await runCell({ kind: 'million-fill', count, ...common })
    const warm = await runCell({ kind: 'million-start', count, ...common })
    const cold = await runCell({ kind: 'million-start', count, isCold: true, ...common })
    const { startS = 0, getPerS = 0, isCold = false } = cold
    const result = { ...fill, ...warm, coldStartS: startS, coldGetPerS: getPerS, isCold }
    found.set(layout, [result])
  }
  print(`\n## ${count} chunks of 4 KiB\n\n`)
  table(found)
}

async function compression(): Promise<void> {
  const mib = values.quick ? 32 : 128
  const sources = {
    random: randomChunks(mib, firstSeed),
    system: await systemChunks(join(folder, 'system.tar'), mib)
  }
  print('\n## zstd of chunks of 256 KiB, one core\n\n')
  print('| source | level | ratio | chunks smaller by 1/8 | compress MiB/s | decompress MiB/s |\n')
  print('| --- | --- | --- | --- | --- | --- |\n')
  for (const [source, chunks] of Object.entries(sources)) {
    for (const level of [1, 3]) {
      const result = measureCompression(source, chunks, level)
      await record('compression', result)
      const { ratio, worthShare, compressMibS, decompressMibS } = result
      const cells = [source, level, figure(ratio), `${Math.round(worthShare * 100)} %`]
      print(`| ${[...cells, figure(compressMibS), figure(decompressMibS)].join(' | ')} |\n`)
    }
  }
}

/** Runs a measurement in a process of its own. */
async function runCell(request: CellRequest): Promise<CellResult> {
  const use = await ProcessorUse.begin([])
  const args = ['--expose-gc', projectFile('experiments/chunk-store/cell.ts')]
  const child = spawn(process.execPath, [...args, JSON.stringify(request)], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  let output = ''
  child.stdout.on('data', (bytes: Buffer) => (output += bytes.toString()))
  const [code] = (await once(child, 'close')) as [number | null]
  if (code !== 0) throw new Error(`${request.kind} of ${request.layout} ended with ${code}`)
  const { idle } = await use.end()
  const measured = JSON.parse(output) as CellResult
  const result = { ...measured, idlePercent: idle * 100, load: loadavg()[0] ?? 0 }
  const { kind, layout, chunkBytes, count, seed } = request
  await record(kind, { kind, layout, chunkBytes, count, seed, ...result })
  return result
}

/** Starts a writer and kills it. @returns which chunks were acknowledged. */
async function killedWriter(request: CellRequest): Promise<number[]> {
  const cell = projectFile('experiments/chunk-store/cell.ts')
  const child = spawn(process.execPath, [cell, JSON.stringify(request)], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const acknowledged: number[] = []
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (!/^\d+$/.test(line)) return
    if (acknowledged.length === 0) setTimeout(() => child.kill('SIGKILL'), 2000)
    acknowledged.push(Number(line))
  })
  await once(child, 'close')
  return acknowledged
}

function table(found: ReadonlyMap<LayoutName, readonly CellResult[]>): void {
  const names = Array.from(found.keys())
  const [first] = Array.from(found.values())
  print(`| | ${names.join(' | ')} |\n| --- |${' --- |'.repeat(names.length)}\n`)
  for (const key of Object.keys(first?.[0] ?? {})) {
    const cells = names.map((name) => medianOf((found.get(name) ?? []).map((it) => it[key])))
    print(`| ${key} | ${cells.join(' | ')} |\n`)
  }
}

function medianOf(all: readonly (number | string | boolean | undefined)[]): string {
  const numbers = all.filter((value) => typeof value === 'number').toSorted((a, b) => a - b)
  if (numbers.length === 0) return String(all[0])
  return figure(numbers[Math.floor(numbers.length / 2)] ?? 0)
}

function figure(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(value < 10 ? 2 : 1)
}

async function fresh(layout: LayoutName): Promise<string> {
  const directory = join(folder, layout)
  await rm(directory, { recursive: true, force: true })
  await mkdir(directory, { recursive: true })
  return directory
}

async function record(kind: string, result: object): Promise<void> {
  const name = kind.startsWith('million') ? 'million' : kind
  await appendFile(join(results, `${name}.jsonl`), `${JSON.stringify(result)}\n`)
}

/** LMDB is for this experiment only, so it is not among the project's dependencies. */
function installLmdb(): void {
  if (hasLmdb() || !values.layouts.includes('lmdb')) return
  try {
    execFileSync('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--no-save'], {
      cwd: projectFile('experiments/chunk-store'),
      stdio: 'ignore'
    })
  } catch {
    print('lmdb cannot be installed here; it is left out\n')
  }
}

function print(text: string): void {
  process.stdout.write(text)
}
