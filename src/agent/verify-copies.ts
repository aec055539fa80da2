import type { CopyCondition, MaintainedDirectory } from '../chunks/maintenance-types.ts'
import type { CheckableStore } from '../chunks/store-types.ts'
import type { ChunkId, ProviderId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { forEachConcurrently } from '../lib/concurrently.ts'
import { errorCode } from '../lib/errors.ts'

/** Chunks that a provider is asked to read again in one call. */
const CHECKS_AT_ONCE = 256

/** Providers that read at the same time. */
const PROVIDERS_AT_ONCE = 8

/** What is known of a copy; a provider that does not answer says nothing. */
export type KnownCondition = CopyCondition | 'unanswered'

/** A chunk of a page, and how its copies are. */
export interface VerifiedChunk {
  readonly id: ChunkId
  /** Bytes that it has in the image. */
  readonly bytes: number
  /** Who should have it. */
  readonly replicas: readonly ProviderId[]
  /** How it was found there. */
  readonly found: Map<ProviderId, KnownCondition>
  /** How it was found in this agent's own store, where this is none of the providers. */
  own: CopyCondition
}

/** Where copies are looked at. */
export interface VerifyCopiesComponents {
  readonly directory: MaintainedDirectory
  /** This agent's own store. */
  readonly store: CheckableStore
  /** Name of the store as a provider, if it is one. */
  readonly localId?: ProviderId | undefined
}

/** What of a page is done already, as a part of 1. */
type OnPart = (part: number) => void

/**
 * Has everybody who should have chunks read and hash them again, each in batches, several at the
 * same time, and does so with what this agent keeps.
 *
 * @returns the providers that did not answer.
 */
export async function verifyCopies(
  { directory, store, localId }: VerifyCopiesComponents,
  chunks: readonly VerifiedChunk[],
  options: AbortOptions & { readonly onPart: OnPart }
): Promise<ReadonlySet<ProviderId>> {
  const { signal, onPart } = options
  const perProvider = Map.groupBy(
    chunks.flatMap((chunk) => chunk.replicas.map((provider) => ({ provider, chunk }))),
    ({ provider }) => provider
  )
  const total = chunks.reduce((sum, { replicas }) => sum + replicas.length, chunks.length)
  const unanswered = new Set<ProviderId>()
  let done = 0
  const moved = (count: number): void => {
    done += count
    onPart(done / total)
  }
  for (const chunk of chunks) {
    const isAsked = localId !== undefined && chunk.replicas.includes(localId)
    if (!isAsked) chunk.own = await checkOwn(store, chunk, { signal })
    moved(1)
  }
  const work = async (
    [provider, all]: [ProviderId, { chunk: VerifiedChunk }[]],
    within: AbortSignal
  ) => {
    for (let from = 0; from < all.length; from += CHECKS_AT_ONCE) {
      const some = all.slice(from, from + CHECKS_AT_ONCE).map(({ chunk }) => chunk)
      const conditions = unanswered.has(provider)
        ? undefined
        : await check(directory, provider, some, { signal: within })
      if (conditions === undefined) unanswered.add(provider)
      for (const [at, { found }] of some.entries()) {
        found.set(provider, conditions?.[at] ?? 'unanswered')
      }
      moved(some.length)
    }
  }
  await forEachConcurrently(perProvider, PROVIDERS_AT_ONCE, work, { signal })
  return unanswered
}

async function check(
  directory: MaintainedDirectory,
  provider: ProviderId,
  chunks: readonly VerifiedChunk[],
  options: AbortOptions
): Promise<readonly CopyCondition[] | undefined> {
  try {
    const ids = chunks.map(({ id }) => id)
    return await directory.open(provider)?.check(ids, options)
  } catch (error) {
    options.signal?.throwIfAborted()
    if (errorCode(error) === undefined) throw error
    return undefined
  }
}

async function checkOwn(
  store: CheckableStore,
  { id, bytes }: VerifiedChunk,
  options: AbortOptions
): Promise<CopyCondition> {
  const length = store.lengthOf(id)
  if (length === undefined) return 'absent'
  if (length !== bytes) return 'corrupt'
  try {
    return (await store.check(id, options)) ?? 'absent'
  } catch (error) {
    options.signal?.throwIfAborted()
    if (errorCode(error) === undefined) throw error
    return 'missing' // its disk cannot read it
  }
}
