import { KIB, MIB } from '../../src/lib/bytes.ts'
import type { SwarmOptions } from './options.ts'
import type { Scenario } from './scenario.ts'

/** A named swarm. */
export interface Case {
  readonly name: string
  readonly options: Partial<SwarmOptions>
  readonly scenario: Scenario
}

const EIGHT = image(8, 50, 128 * MIB, 128 * KIB)

/** The cases that are also measured in network namespaces, with the chunk size that uploads choose. */
export const CASES: readonly Case[] = [
  { name: '128 MiB to 8 at 50', options: EIGHT, scenario: {} },
  { name: '128 MiB to 16 at 25', options: image(16, 25, 128 * MIB, 128 * KIB), scenario: {} },
  { name: '128 MiB to 16 at 50', options: image(16, 50, 128 * MIB, 128 * KIB), scenario: {} },
  { name: '64 MiB to 32 at 12.5', options: image(32, 12.5, 64 * MIB, 64 * KIB), scenario: {} },
  { name: 'one host', options: image(1, 50, 128 * MIB, 128 * KIB), scenario: {} },
  {
    name: 'four of 8 come late, every 4 s',
    options: EIGHT,
    scenario: { late: { count: 4, everyMs: 4000 } }
  },
  { name: 'one of 8 at 5 Mbit/s', options: EIGHT, scenario: { slowMbits: 5 } },
  {
    name: 'one of 8 killed every 3 s, back after 1 s',
    options: EIGHT,
    scenario: { churn: { everyMs: 3000, downMs: 1000, untilMs: 18_000 } }
  },
  {
    name: 'one of 16 killed every 3 s, back after 1 s',
    options: image(16, 25, 128 * MIB, 128 * KIB),
    scenario: { churn: { everyMs: 3000, downMs: 1000, untilMs: 36_000 } }
  },
  {
    name: 'the source leaves when all chunks have left it',
    options: EIGHT,
    scenario: { sourceLeavesAfter: 1 }
  }
]

function image(
  agents: number,
  mbits: number,
  bytes: number,
  chunkBytes: number
): Partial<SwarmOptions> {
  return { agents, mbits, chunks: bytes / chunkBytes, chunkBytes }
}
