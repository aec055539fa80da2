import { isZeroChunk } from '../chunks/chunk-id.ts'
import type { ChunkWriter } from '../chunks/replica-types.ts'
import type { ProviderId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { LeafList } from './leaf-list.ts'

/** Chunks that are asked about at once. */
const BATCH_CHUNKS = 1024

export interface LocateLeavesOptions extends AbortOptions {
  /** Told of each row, in their order, who has its chunk: nobody if it is missing or of zeros. */
  readonly onRow?: ((row: number, replicas: readonly ProviderId[]) => void) | undefined
}

/** What could not be found of a list. */
export interface MissingLeaves {
  /** Rows whose chunks nobody has who has answered. */
  readonly missing: readonly number[]
  /** Somebody did not answer, so what is missing may yet be there. */
  readonly isAnybodySilent: boolean
}

/**
 * Asks the providers of fragments whether they have the chunks, which makes those safe from
 * collection for a lease, and everybody about those that their providers have no more.
 */
export async function locateLeaves(
  writer: Pick<ChunkWriter, 'locate'>,
  leaves: LeafList,
  options: LocateLeavesOptions = {}
): Promise<MissingLeaves> {
  const { signal, onRow } = options
  const missing: number[] = []
  let isAnybodySilent = false
  const onUnanswered = (): void => {
    isAnybodySilent = true
  }
  for (let from = 0; from < leaves.fragmentCount; from += BATCH_CHUNKS) {
    const end = Math.min(leaves.fragmentCount, from + BATCH_CHUNKS)
    const places = await locateRows(writer, leaves, { from, end }, { signal, onUnanswered })
    for (let row = from; row < end; row++) {
      const replicas = places.get(row) ?? []
      onRow?.(row, replicas)
      if (replicas.length === 0 && !isZeroChunk(leaves.fragment(row).chunk)) missing.push(row)
    }
  }
  return { missing, isAnybodySilent }
}

async function locateRows(
  writer: Pick<ChunkWriter, 'locate'>,
  leaves: LeafList,
  { from, end }: { readonly from: number; readonly end: number },
  options: AbortOptions & { readonly onUnanswered: () => void }
): Promise<Map<number, readonly ProviderId[]>> {
  const places = new Map<number, readonly ProviderId[]>()
  const { onUnanswered, signal } = options
  let silent = false
  const ask = async (rows: readonly number[], isAmongOwn: boolean): Promise<number[]> => {
    if (rows.length === 0) return []
    const fragments = rows.map((row) => leaves.fragment(row))
    const among = isAmongOwn ? fragments.map(({ replicas }) => replicas) : undefined
    const ids = fragments.map(({ chunk }) => chunk)
    const answers = await writer.locate(ids, { among, signal, onUnanswered: () => (silent = true) })
    const left: number[] = []
    for (const [at, row] of rows.entries()) {
      const replicas = answers[at] ?? []
      if (replicas.length > 0) places.set(row, replicas)
      else left.push(row)
    }
    return left
  }
  const rows = Array.from({ length: end - from }, (_, at) => from + at)
  const stored = rows.filter((row) => !isZeroChunk(leaves.fragment(row).chunk))
  const left = await ask(await ask(stored, true), false)
  if (left.length > 0 && silent) onUnanswered()
  return places
}
