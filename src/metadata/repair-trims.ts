import { chunkKey } from '../chunks/chunk-id.ts'
import type { ChunkId, ProviderId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import type { RepairDeeds } from './repair-deeds.ts'
import type { Question, Survey } from './repair-survey.ts'
import type { RepairerComponents, RepairTally } from './repair-types.ts'

/** Ids of one order. */
const IDS_AT_ONCE = 1024

/** A chunk of which there are too many copies. */
export interface SurplusCopies {
  readonly id: ChunkId
  readonly losers: readonly ProviderId[]
  /** Live providers that shall keep theirs. */
  readonly staying: readonly ProviderId[]
  /** Pages that list it. */
  readonly pageCount: number
}

export interface RepairTrimsComponents extends Pick<RepairerComponents, 'directory'> {
  readonly tally: RepairTally
  readonly deeds: RepairDeeds
  readonly log: Logger
  /** A survey in which nobody has been asked yet about these chunks. */
  readonly survey: Survey
}

/**
 * Takes surplus copies away, one provider after the other. In the moment before, those who shall
 * keep theirs are asked once more; that they are many enough is what makes it safe, because nobody
 * else deletes what can be read.
 */
export class RepairTrims {
  readonly #components: RepairTrimsComponents
  readonly #wanted: number
  readonly #leftAt = new Set<ProviderId>()

  constructor(components: RepairTrimsComponents, wanted: number) {
    this.#components = components
    this.#wanted = wanted
  }

  /** Providers that have kept copies for their leases, or for not answering. */
  get leftAt(): ReadonlySet<ProviderId> {
    return this.#leftAt
  }

  /** The records must not name the losers any more. */
  async run(chunks: readonly SurplusCopies[], options: AbortOptions): Promise<void> {
    const perLoser = new Map<ProviderId, SurplusCopies[]>()
    for (const chunk of chunks) {
      for (const loser of chunk.losers) {
        const some = perLoser.get(loser) ?? []
        perLoser.set(loser, some)
        some.push(chunk)
      }
    }
    for (const [loser, some] of perLoser) {
      for (let from = 0; from < some.length; from += IDS_AT_ONCE) {
        const batch = some.slice(from, from + IDS_AT_ONCE)
        const trimmed = await this.#trim(loser, batch, options)
        if (trimmed < batch.length) this.#leftAt.add(loser)
      }
    }
  }

  /** @returns how many are gone. */
  async #trim(
    loser: ProviderId,
    chunks: readonly SurplusCopies[],
    options: AbortOptions
  ): Promise<number> {
    const { directory, tally, deeds, log } = this.#components
    const safe = await this.#confirmed(chunks, options)
    const provider = directory.open(loser)
    if (provider === undefined || safe.length === 0) return 0
    try {
      const ids = safe.map(({ id }) => id)
      const { count } = await provider.trim(ids, options)
      deeds.trimmed(count)
      if (count === ids.length) for (const { pageCount } of safe) tally.surplus -= pageCount
      const format = '%p has given up %d of %d surplus copies'
      if (count > 0) log.info(format, loser, count, ids.length)
      else log.debug(format, loser, count, ids.length) // they have leases: again and again
      return count
    } catch (thrown) {
      options.signal?.throwIfAborted()
      log.info('%p keeps %d surplus copies: %e', loser, safe.length, toError(thrown))
      return 0
    }
  }

  /** Those of which enough others are there at this moment. */
  async #confirmed(
    chunks: readonly SurplusCopies[],
    options: AbortOptions
  ): Promise<SurplusCopies[]> {
    const questions = new Map<string, Question>()
    const staying = new Map<Question, readonly ProviderId[]>()
    for (const chunk of chunks) {
      const question = {
        id: chunk.id,
        asked: new Set<ProviderId>(),
        holders: new Set<ProviderId>(),
        silent: new Set<ProviderId>()
      }
      questions.set(chunkKey(chunk.id), question)
      staying.set(question, chunk.staying)
    }
    const whom = (question: Question): readonly ProviderId[] => staying.get(question) ?? []
    await this.#components.survey.ask([...questions.values()], whom, options)
    return chunks.filter(
      ({ id }) => (questions.get(chunkKey(id))?.holders.size ?? 0) >= this.#wanted
    )
  }
}
