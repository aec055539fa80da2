import { appendFile, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { MIB, toHex } from '../../src/lib/bytes.ts'
import { secureBytes } from '../../src/lib/random.ts'
import { projectFile } from '../support/agent-process.ts'
import { ProcessorUse } from '../support/processor.ts'
import { EndProcess } from './end-process.ts'
import type { EndSettings, Usage } from './ends.ts'

// One agent to one agent over loopback: see README.md.

const { values } = parseArgs({
  options: {
    mib: { type: 'string', default: '1024' },
    repetitions: { type: 'string', default: '3' },
    kinds: { type: 'string', default: 'raw,bare,dropped,stored' },
    trees: { type: 'string', default: '' },
    folder: { type: 'string', default: '/dev/shm' },
    profile: { type: 'string' },
    record: { type: 'boolean', default: false }
  }
})
type Kind = EndSettings['kind']

interface Result {
  readonly kind: Kind
  readonly tree: string
  readonly mibPerSecond: number
  /** Processor seconds per GiB. */
  readonly source: number
  readonly taker: number
  readonly system: number
  readonly peakMib: number
  readonly idle: number
}

const bytes = Number(values.mib) * MIB
const trees = values.trees === '' ? [''] : values.trees.split(',')
const kinds = values.kinds.split(',') as Kind[]
const results: Result[] = []
for (let n = 0; n < Number(values.repetitions); n++) {
  for (const kind of kinds) {
    const ofKind = kind === 'raw' || kind === 'bare' ? trees.slice(-1) : trees
    for (const tree of n % 2 === 0 ? ofKind : ofKind.toReversed()) {
      const result = await transfer(kind, tree)
      results.push(result)
      process.stdout.write(`${JSON.stringify(result)}\n`)
    }
  }
}
if (values.record) await record()
for (const kind of kinds) for (const tree of trees) print(kind, tree)

async function transfer(kind: Kind, tree: string): Promise<Result> {
  const folder = await mkdtemp(join(values.folder, 'transfer-'))
  const authoritySeed = toHex(secureBytes(32))
  const shared = { kind, bytes, authoritySeed }
  const start = async (name: string, isSource: boolean): Promise<EndProcess> =>
    EndProcess.start(
      {
        ...shared,
        isSource,
        folder: join(folder, name),
        ...(values.profile === undefined
          ? {}
          : { profile: join(values.profile, `${kind}-${name}.cpuprofile`) })
      },
      tree === '' ? undefined : tree
    )
  try {
    const [source, taker] = await Promise.all([start('source', true), start('taker', false)])
    const ends = [source, taker]
    const before = await usageOf(ends)
    const machine = await ProcessorUse.begin([])
    const ms = await taker.fetch([source.address], source.ids)
    const { idle } = await machine.end()
    const after = await usageOf(ends)
    for (const end of ends) await end.stop()
    return { kind, tree, idle, ...figures(before, after, ms) }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function usageOf(ends: readonly EndProcess[]): Promise<Usage[]> {
  return Promise.all(ends.map(async (end) => end.usage()))
}

function figures(
  before: Usage[],
  after: Usage[],
  ms: number
): Omit<Result, 'kind' | 'tree' | 'idle'> {
  const gib = bytes / (1024 * MIB)
  const spent = (n: number, field: 'user' | 'system'): number =>
    ((after[n]?.[field] ?? 0) - (before[n]?.[field] ?? 0)) / gib
  return {
    mibPerSecond: bytes / MIB / (ms / 1000),
    source: spent(0, 'user') + spent(0, 'system'),
    taker: spent(1, 'user') + spent(1, 'system'),
    system: spent(0, 'system') + spent(1, 'system'),
    peakMib: Math.max(...after.map(({ peakMib }) => peakMib))
  }
}

async function record(): Promise<void> {
  const folder = projectFile('experiments/transfer/results')
  await mkdir(folder, { recursive: true })
  const at = new Date().toISOString()
  const lines = results.map((result) => `${JSON.stringify({ at, ...result })}\n`)
  await appendFile(join(folder, 'loopback.jsonl'), lines.join(''))
}

function print(kind: Kind, tree: string): void {
  const own = results.filter((result) => result.kind === kind && result.tree === tree)
  if (own.length === 0) return
  const median = (field: keyof Omit<Result, 'kind' | 'tree'>): number => {
    const sorted = own.map((result) => result[field]).toSorted((a, b) => a - b)
    return sorted[Math.floor(sorted.length / 2)] ?? 0
  }
  process.stdout.write(
    `${kind} ${tree}: ${median('mibPerSecond').toFixed(0)} MiB/s; s/GiB source ` +
      `${median('source').toFixed(2)} taker ${median('taker').toFixed(2)} of it system ` +
      `${median('system').toFixed(2)}; peak ${median('peakMib').toFixed(0)} MiB; idle ` +
      `${median('idle').toFixed(2)}\n`
  )
}
