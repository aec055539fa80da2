import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import type { ChunkId } from '../../src/chunks/types.ts'
import { MIB } from '../../src/lib/bytes.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { SeededBytes } from '../support/image.ts'

export interface SampleChunk {
  readonly id: ChunkId
  readonly bytes: Uint8Array
}

/** Chunk `number` of a seed: bytes that look random. */
export function chunkOf(seed: number, number: number, length: number): SampleChunk {
  const bytes = new SeededBytes(seed * 0x1_00_00_00_00 + number).next(length)
  return { id: chunkId(bytes), bytes }
}

/** Calls `task` for 0 to count − 1, some at a time. @returns seconds. */
export async function timed(
  count: number,
  concurrency: number,
  task: (number: number) => Promise<unknown>
): Promise<number> {
  const startedAt = performance.now()
  let next = 0
  const work = async (): Promise<void> => {
    while (next < count) await task(next++)
  }
  await Promise.all(Array.from({ length: concurrency }, work))
  return (performance.now() - startedAt) / 1000
}

/** The numbers below `count` in an order of chance. */
export function shuffledNumbers(count: number, seed: number): number[] {
  const random = seededRandom(seed)
  const numbers = Array.from({ length: count }, (_, number) => number)
  for (let at = count - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1))
    const kept = numbers[at] as number
    numbers[at] = numbers[other] as number
    numbers[other] = kept
  }
  return numbers
}

/** Has the kernel forget what files hold. @returns whether that was allowed. */
export function dropCaches(): boolean {
  try {
    execFileSync('sync')
    writeFileSync('/proc/sys/vm/drop_caches', '3')
    return true
  } catch {
    return false
  }
}

/** MiB that a folder takes on the disk. */
export async function diskMib(folder: string): Promise<number> {
  let blocks = 0
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    try {
      blocks += (await stat(join(entry.parentPath, entry.name))).blocks
    } catch {
      // Removed while we look.
    }
  }
  return (blocks * 512) / MIB
}

/** Resident memory of this process in MiB, rubbish collected if the process may. */
export function residentMib(): number {
  globalThis.gc?.()
  return process.memoryUsage.rss() / MIB
}
