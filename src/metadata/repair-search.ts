import { chunkKey } from '../chunks/chunk-id.ts'
import type { ChunkId, ProviderId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { toHex } from '../lib/bytes.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import type { LookedAt } from './repair-chunks.ts'
import type { WantedCopies } from './repair-queue.ts'
import type { Survey } from './repair-survey.ts'
import type { RepairerComponents } from './repair-types.ts'

/** Chunks of a page that the log names when nobody has them. */
const NAMED_CHUNKS = 4

export interface RepairSearchComponents extends Pick<RepairerComponents, 'directory' | 'hoarders'> {
  readonly log: Logger
  /** Pages that the log has named for their lost chunks, by their map keys; grows. */
  readonly lamented: Set<string>
}

/** Looks for chunks where nobody is obliged to have them. */
export class RepairSearch {
  readonly #components: RepairSearchComponents
  readonly #survey: Survey

  constructor(components: RepairSearchComponents, survey: Survey) {
    this.#components = components
    this.#survey = survey
  }

  /**
   * Asks agents that are no providers for what no provider has.
   *
   * @returns those that have it, by the chunk's map key.
   */
  async find(
    lost: readonly LookedAt[],
    options: AbortOptions
  ): Promise<ReadonlyMap<string, readonly ProviderId[]>> {
    if (lost.length === 0) return new Map()
    const found = await this.#askHoarders(lost, options)
    this.#lament(lost.filter(({ key, silent }) => !found.has(key) && silent.size === 0))
    return found
  }

  /** Logs chunks that are lost, once for each page. */
  #lament(lost: readonly LookedAt[]): void {
    const { lamented, log } = this.#components
    const perPage = new Map<string, ChunkId[]>()
    for (const { id, pages } of lost) {
      for (const page of pages.keys()) perPage.set(page, [...(perPage.get(page) ?? []), id])
    }
    for (const [page, ids] of perPage) {
      if (lamented.has(page)) continue
      lamented.add(page)
      const named = ids.slice(0, NAMED_CHUNKS).map((id) => toHex(id).slice(0, 16))
      const short = Buffer.from(page, 'latin1').toString('hex').slice(0, 16)
      log.error('nobody holds %d chunks of page %s: %s', ids.length, short, named.join(' '))
    }
  }

  /**
   * Whoever was to give these chunks did not. Those that still say that they hold them after having
   * read them again are tried once more, with agents that are no providers.
   */
  async findAnew(
    failed: readonly WantedCopies[],
    options: AbortOptions
  ): Promise<readonly WantedCopies[]> {
    const sound = await this.#checkSources(failed, options)
    const found = await this.#askHoarders(failed, options)
    return failed.flatMap((wanted) => {
      const key = chunkKey(wanted.id)
      const others = found.get(key) ?? []
      const again = wanted.tries > 1 ? [] : (sound.get(key) ?? [])
      const sources = [...others, ...again]
      return sources.length === 0 ? [] : [{ ...wanted, sources }]
    })
  }

  /** Has the sources of chunks read them again. @returns who finds them intact. */
  async #checkSources(
    failed: readonly WantedCopies[],
    options: AbortOptions
  ): Promise<Map<string, ProviderId[]>> {
    const perSource = new Map<ProviderId, ChunkId[]>()
    for (const { id, sources } of failed) {
      for (const source of sources) perSource.set(source, [...(perSource.get(source) ?? []), id])
    }
    const sound = new Map<string, ProviderId[]>()
    for (const [source, ids] of perSource) {
      try {
        const conditions =
          (await this.#components.directory.open(source)?.check(ids, options)) ?? []
        for (const [at, id] of ids.entries()) {
          if (conditions[at] !== 'intact') continue
          const key = chunkKey(id)
          sound.set(key, [...(sound.get(key) ?? []), source])
        }
      } catch (thrown) {
        options.signal?.throwIfAborted()
        this.#components.log.debug('%p does not check its chunks: %e', source, toError(thrown))
      }
    }
    return sound
  }

  async #askHoarders(
    chunks: readonly { readonly id: ChunkId }[],
    options: AbortOptions
  ): Promise<ReadonlyMap<string, readonly ProviderId[]>> {
    const hoarders = this.#components.hoarders?.() ?? []
    const ids = chunks.map(({ id }) => id)
    return await this.#survey.askHoarders(ids, hoarders, options)
  }
}
