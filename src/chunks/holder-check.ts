import type { AbortOptions } from '../lib/abort-options.ts'
import { forEachConcurrently } from '../lib/concurrently.ts'
import type { Logger } from '../lib/logger.ts'
import { anySignal } from '../lib/signals.ts'
import { toError } from '../lib/to-error.ts'
import { NoProviderError } from './errors.ts'
import type { ProviderDirectory } from './provider-types.ts'
import type { ChunkId, ProviderId } from './types.ts'

/** A chunk and who holds it, as far as is known. */
export interface HeldChunk {
  readonly id: ChunkId
  readonly holders: Set<ProviderId>
}

export interface HolderCheckComponents {
  readonly directory: ProviderDirectory
  readonly logger: Logger
}

export interface HolderCheckOptions extends AbortOptions {
  readonly trustOf: (provider: ProviderId) => Trust
  /** Time that a provider has to answer each question, in milliseconds. */
  readonly timeoutMs: number
}

/**
 * `full`: it has given no cause for doubt; `some`: it may have lost chunks, or may not answer;
 * `none`: it is not even asked.
 */
export type Trust = 'full' | 'some' | 'none'

/** Chunks that one question to a provider names. */
const MAX_ASKED = 1024

/** Chunks by which a provider that has given no cause for doubt is judged. */
const SAMPLE = 16

/** Part of the time that a provider has which has failed before. */
const DOUBTFUL_TIME = 0.3

/** Providers that are asked at the same time. */
const PROVIDERS_AT_A_TIME = 16

/**
 * Asks the holders of chunks whether they still have them, which renews the leases of those that
 * are asked about. A provider that has lost none of a sample, and has given no cause for doubt, is
 * believed to have the others too. Takes off the lists of holders whoever does not.
 *
 * @returns those who did not answer.
 */
export async function checkHolders(
  { directory, logger }: HolderCheckComponents,
  chunks: readonly HeldChunk[],
  { trustOf, timeoutMs, signal: outer }: HolderCheckOptions
): Promise<ProviderId[]> {
  const silent: ProviderId[] = []
  const ask = async (holder: ProviderId, held: readonly HeldChunk[], signal: AbortSignal) => {
    const trust = trustOf(holder)
    const provider = trust === 'none' ? undefined : directory.open(holder)
    if (provider === undefined) throw new NoProviderError(`${holder} is dead or unknown`)
    const ms = trust === 'full' ? timeoutMs : timeoutMs * DOUBTFUL_TIME
    const within = anySignal([signal, AbortSignal.timeout(ms)])
    const ids = held.map(({ id }) => id)
    const answers = await provider.has(ids, { signal: within })
    const lost = held.filter((_, at) => answers[at] !== true)
    for (const { holders } of lost) holders.delete(holder)
    return lost.length
  }
  await forEachConcurrently(
    byHolder(chunks),
    PROVIDERS_AT_A_TIME,
    async ([holder, held], signal) => {
      try {
        const lostCount = await ask(holder, sampleOf(held), signal)
        if (lostCount === 0 && trustOf(holder) === 'full') return
        for (let at = 0; at < held.length; at += MAX_ASKED) {
          await ask(holder, held.slice(at, at + MAX_ASKED), signal)
        }
      } catch (thrown) {
        signal.throwIfAborted()
        logger.info('%p does not say what it holds: %e', holder, toError(thrown))
        for (const { holders } of held) holders.delete(holder)
        silent.push(holder)
      }
    },
    { signal: outer }
  )
  return silent
}

function byHolder(chunks: readonly HeldChunk[]): Map<ProviderId, HeldChunk[]> {
  const found = new Map<ProviderId, HeldChunk[]>()
  for (const chunk of chunks) {
    for (const holder of chunk.holders) {
      const held = found.get(holder)
      if (held === undefined) found.set(holder, [chunk])
      else held.push(chunk)
    }
  }
  return found
}

/** Some of them, the first and the last among them. */
function sampleOf(held: readonly HeldChunk[]): readonly HeldChunk[] {
  if (held.length <= SAMPLE) return held
  const step = (held.length - 1) / (SAMPLE - 1)
  return Array.from({ length: SAMPLE }, (_, at) => held[Math.round(at * step)]).filter(
    (chunk) => chunk !== undefined
  )
}
