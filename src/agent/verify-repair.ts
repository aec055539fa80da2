import type { ChunkSource } from '../chunks/maintenance-types.ts'
import type { ProviderManager } from '../chunks/provider-manager-types.ts'
import type { ChunkReader } from '../chunks/replica-types.ts'
import type { ProviderId } from '../chunks/types.ts'
import { errorCode } from '../lib/errors.ts'
import type { LongOptions } from './operations.ts'
import type { VerifiedChunk, VerifyCopiesComponents } from './verify-copies.ts'

/** Chunks that a provider is asked to copy in one call. */
const COPIES_AT_ONCE = 64

/** Where copies are made. */
export interface VerifyRepairComponents extends VerifyCopiesComponents {
  readonly reader: ChunkReader
  readonly providers: Pick<ProviderManager, 'place'>
  /** This agent as a source of what it keeps. @default it is none */
  readonly self?: (() => ChunkSource) | undefined
}

/** Chunks that something is wrong with, and what would be right. */
export interface WantedRepair {
  readonly chunks: readonly VerifiedChunk[]
  /** Copies that each shall have. */
  readonly replicas: number
  /** Providers whose copies count; undefined if all do. */
  readonly live: ReadonlySet<ProviderId> | undefined
}

/** A chunk that is being mended. */
interface Mending {
  readonly chunk: VerifiedChunk
  /** Providers that have it whole. */
  readonly intact: Set<ProviderId>
  /** Whether this agent can give it, provider or not. */
  readonly isHere: boolean
  readonly targets: Set<ProviderId>
}

/**
 * Gives back to providers what they should have and have not, from those that have it, and where
 * such a provider is lost, to others. Chunks that this agent kept for itself are fetched again.
 *
 * @returns how many chunks have as many copies as wanted now, and are whole wherever they are.
 */
export async function mendChunks(
  components: VerifyRepairComponents,
  wanted: WantedRepair,
  options: LongOptions
): Promise<number> {
  const mendings = wanted.chunks.map((chunk): Mending => {
    const found = [...chunk.found]
    const intact = found.filter(([, condition]) => condition === 'intact').map(([id]) => id)
    const lost = found.filter(([, condition]) => condition !== 'intact').map(([id]) => id)
    const targets = lost.filter((id) => wanted.live?.has(id) ?? true)
    const isHere = chunk.own === 'intact' && components.self !== undefined
    return { chunk, intact: new Set(intact), isHere, targets: new Set(targets) }
  })
  await copyToTargets(components, mendings, options)
  await placeMissing(components, mendings, wanted, options)
  await copyToTargets(components, mendings, options)
  let mended = 0
  for (const { chunk, intact } of mendings) {
    const isWhole = await fetchOwn(components, chunk, [...intact], options)
    const count = [...intact].filter((id) => wanted.live?.has(id) ?? true).length
    if (isWhole && count >= wanted.replicas) mended++
  }
  return mended
}

/** Chooses others for copies that could not be given back. */
async function placeMissing(
  { providers }: VerifyRepairComponents,
  mendings: readonly Mending[],
  { replicas, live }: WantedRepair,
  { signal }: LongOptions
): Promise<void> {
  for (const { chunk, intact, isHere, targets } of mendings) {
    const count = [...intact].filter((id) => live?.has(id) ?? true).length
    const beside = [...new Set([...intact, ...chunk.found.keys()])]
    const missing = replicas - count
    targets.clear()
    if (missing <= 0 || (intact.size === 0 && !isHere)) continue
    try {
      const request = { count: 1, chunkBytes: chunk.bytes, replicas: missing, beside }
      const [places = []] = await providers.place({ ...request, exclude: beside }, { signal })
      for (const id of places) targets.add(id)
    } catch (error) {
      signal?.throwIfAborted()
      if (errorCode(error) === undefined) throw error
      return // there is nobody who could take it: it stays as it is
    }
  }
}

/** Has the targets copy what they lack, those with the same sources together. */
async function copyToTargets(
  components: VerifyRepairComponents,
  mendings: readonly Mending[],
  options: LongOptions
): Promise<void> {
  const copies = mendings.flatMap((mending) =>
    mending.intact.size === 0 && !mending.isHere
      ? []
      : [...mending.targets].map((target) => ({ target, mending }))
  )
  const groups = Map.groupBy(copies, ({ target, mending }) =>
    [target, mending.isHere, ...mending.intact].join(' ')
  )
  for (const group of groups.values()) {
    for (let from = 0; from < group.length; from += COPIES_AT_ONCE) {
      const some = group.slice(from, from + COPIES_AT_ONCE)
      await copySome(components, some, options)
    }
  }
}

async function copySome(
  { directory, self }: VerifyRepairComponents,
  copies: readonly { readonly target: ProviderId; readonly mending: Mending }[],
  { signal }: LongOptions
): Promise<void> {
  const [first] = copies
  if (first === undefined) return
  const { target, mending } = first
  const sources: ChunkSource[] = [...mending.intact].map((id) => ({ id, addresses: [] }))
  if (mending.isHere && self !== undefined) sources.push(self())
  const ids = copies.map(({ mending: { chunk } }) => chunk.id)
  try {
    const held = (await directory.open(target)?.copy(ids, sources, { signal })) ?? []
    for (const [at, { mending: one }] of copies.entries()) {
      if (held[at] === true) one.intact.add(target)
    }
  } catch (error) {
    signal?.throwIfAborted()
    if (errorCode(error) === undefined) throw error
  }
}

/** @returns false if this agent kept the chunk, and cannot have it again. */
async function fetchOwn(
  { reader, store }: VerifyRepairComponents,
  { id, own }: VerifiedChunk,
  intact: readonly ProviderId[],
  options: LongOptions
): Promise<boolean> {
  if (own === 'absent' || own === 'intact') return true
  try {
    const { signal } = options
    await store.delete(id)
    await store.put(id, await reader.read(id, intact, { signal }), { signal })
    return true
  } catch (error) {
    options.signal?.throwIfAborted()
    if (errorCode(error) === undefined) throw error
    return false
  }
}
