import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { GIB, MIB } from '../../src/lib/bytes.ts'
import type { End, EndSettings } from './ends.ts'

// Processor time of both ends in one process that has warmed up: see README.md. Run it with the options of
// Node.js that bin/blobswarm gives agents, or what the garbage collector costs is not seen.

const { values } = parseArgs({
  options: {
    mib: { type: 'string', default: '32' },
    rounds: { type: 'string', default: '10' },
    tree: { type: 'string', default: '../..' },
    folder: { type: 'string', default: '/dev/shm' }
  }
})
const WARM_UP_ROUNDS = 2

const program = `${values.tree}/experiments/transfer/swarm-end.ts`
const { swarmEnd } = (await import(program)) as {
  swarmEnd: (settings: EndSettings) => Promise<End>
}
const folder = await mkdtemp(join(values.folder, 'warm-'))
const mib = Number(values.mib)
const shared = { kind: 'dropped', bytes: mib * MIB, authoritySeed: '11'.repeat(32) } as const
const source = await swarmEnd({ ...shared, isSource: true, folder: join(folder, 'source') })
const taker = await swarmEnd({ ...shared, isSource: false, folder: join(folder, 'taker') })
const rounds: { user: number; system: number; mibPerSecond: number }[] = []
for (let n = 0; n < Number(values.rounds); n++) {
  const before = process.cpuUsage()
  const ms = await taker.fetch([source.address], source.ids ?? '')
  const { user, system } = process.cpuUsage(before)
  const perGib = GIB / (mib * MIB) / 1e6
  rounds.push({ user: user * perGib, system: system * perGib, mibPerSecond: mib / (ms / 1000) })
  await taker.forget?.(source.ids ?? '')
}
const measured = rounds.slice(WARM_UP_ROUNDS)
for (const field of ['user', 'system', 'mibPerSecond'] as const) {
  const sorted = measured.map((round) => round[field]).toSorted((a, b) => a - b)
  const median = sorted[Math.floor(sorted.length / 2)] ?? 0
  const [least = 0] = sorted
  process.stdout.write(`${field}: least ${least.toFixed(2)}, median ${median.toFixed(2)}\n`)
}
process.stdout.write(`peak ${(process.resourceUsage().maxRSS / 1024).toFixed(0)} MiB\n`)
await rm(folder, { recursive: true, force: true })
process.exit()
