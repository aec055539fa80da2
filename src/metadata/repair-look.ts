import { type ChunkPlan, planChunk, type RankedProvider } from '../chunks/repair-plan.ts'
import type { ProviderId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import { nextTurn } from '../lib/turn.ts'
import { chunksOf, isAsListed, type LookedAt, named } from './repair-chunks.ts'
import { RepairCopies } from './repair-copies.ts'
import type { RepairDeeds } from './repair-deeds.ts'
import { type LocatedPage, readLocatedPages } from './repair-pages.ts'
import { LocationEdits } from './repair-records.ts'
import { LocationScan } from './repair-scan.ts'
import { RepairSearch } from './repair-search.ts'
import { Survey } from './repair-survey.ts'
import { RepairTrims, type SurplusCopies } from './repair-trims.ts'
import { type RepairerComponents, type RepairSettings, RepairTally } from './repair-types.ts'

/** Pages that are looked at together: at most 8,192 chunks. */
const PAGES_AT_ONCE = 8

/** How long it is good enough how the providers were, in milliseconds. */
const RANK_MS = 1000

/** Chunks that are decided about without a break. */
const CHUNKS_A_TURN = 1024

/** What a look goes by. */
export interface LookSituation {
  /** All that are known, and how they are. */
  readonly providers: Map<ProviderId, RankedProvider>
  /** Those that should answer. */
  readonly expected: ReadonlySet<ProviderId>
  /** Those that may hold what no record says: they are asked about every chunk. */
  readonly strangers: ReadonlySet<ProviderId>
  /** Whether whoever is not known is lost; before, it may just not have reported yet. */
  readonly isSettled: boolean
  /** Size of a chunk, on average. */
  readonly chunkBytes: number
}

/** What is left to do about some chunks. */
interface Found {
  readonly surplus: SurplusCopies[]
  /** Chunks that nobody has of whom there is an answer. */
  readonly lost: LookedAt[]
}

/** What a look works with. */
export interface RepairLookComponents extends RepairerComponents {
  readonly deeds: RepairDeeds
  readonly log: Logger
  /** Pages that the log has named for their lost chunks, by their map keys; grows. */
  readonly lamented: Set<string>
  /** Called when all records have been seen, so that only copies are still made. */
  readonly onScanned: () => void
  /** Finds out how the providers are by now. */
  readonly rank: (options: AbortOptions) => Promise<readonly RankedProvider[]>
}

/**
 * One look at all location records: finds out who holds what, has missing copies made and surplus
 * ones taken away, and corrects the records. Used once.
 *
 * Names are walked through in their order and looked at a few pages at a time. Of each chunk those
 * are asked whom the record names, and when these are too few all others, because a copy that is
 * there already costs less than another one. Copies are made beside that.
 */
export class RepairLook {
  readonly tally = new RepairTally()
  readonly #components: RepairLookComponents
  readonly #settings: RepairSettings
  readonly #situation: LookSituation
  readonly #survey: Survey
  readonly #edits: LocationEdits
  readonly #copies: RepairCopies
  readonly #trims: RepairTrims
  readonly #search: RepairSearch
  #hasScanned = false

  constructor(
    components: RepairLookComponents,
    settings: RepairSettings,
    situation: LookSituation
  ) {
    const { deeds, log } = components
    const { tally } = this
    const { maxCopies, maxQueued, askTimeoutMs, replicas } = settings
    this.#components = components
    this.#settings = settings
    this.#situation = situation
    this.#survey = new Survey(components, situation.providers, askTimeoutMs)
    this.#search = new RepairSearch(components, this.#survey)
    this.#edits = new LocationEdits(components)
    this.#trims = new RepairTrims({ ...components, tally, survey: this.#survey }, replicas)
    this.#copies = new RepairCopies(
      {
        ...components,
        edits: this.#edits,
        tally,
        deeds,
        log,
        search: this.#search
      },
      { maxCopies, maxQueued, chunkBytes: situation.chunkBytes }
    )
  }

  /** Copies that are waited for. */
  get pending(): number {
    return this.#copies.pending
  }

  /** Whether all records have been seen, so that only copies are still made. */
  get hasScanned(): boolean {
    return this.#hasScanned
  }

  /** Providers that did not answer. */
  get mute(): ReadonlySet<ProviderId> {
    return this.#survey.mute
  }

  /** Providers that may hold what the records do not say. */
  get leftAt(): ReadonlySet<ProviderId> {
    return this.#trims.leftAt
  }

  /** Leaves the copies that have not begun to the next look. */
  cut(): void {
    this.#copies.cut()
  }

  /** Resolves when everything has been looked at and all copies are made that could be. */
  async run(options: AbortOptions): Promise<void> {
    const failed = new AbortController()
    const signals = [failed.signal, options.signal].filter((signal) => signal !== undefined)
    const within = { signal: AbortSignal.any(signals) }
    const scanning = this.#scan(within).finally(() => this.#copies.close())
    const copying = this.#copies.run(within)
    const work = [scanning, copying].map(async (task) => {
      try {
        await task
      } catch (thrown) {
        failed.abort(toError(thrown))
      }
    })
    await Promise.all(work)
    within.signal.throwIfAborted()
    await this.#edits.flush(options)
    this.tally.unread += this.#edits.failed
  }

  async #scan(options: AbortOptions): Promise<void> {
    const { metadataProviders, log } = this.#components
    const scan = new LocationScan(metadataProviders(), log)
    let rankedMs = this.#components.clock.monotonic()
    for await (const ids of scan.pages(PAGES_AT_ONCE, options)) {
      if (this.#components.clock.monotonic() - rankedMs > RANK_MS) {
        await this.#rankAgain(options)
        rankedMs = this.#components.clock.monotonic()
      }
      const { pages, unread } = await readLocatedPages(this.#components, ids, { ...options, log })
      this.tally.unread += unread
      await this.#look(pages, options)
    }
    if (!scan.isComplete) this.tally.unread++
    this.#hasScanned = true
    this.#components.onScanned()
  }

  /** A long look goes by how the providers are by now; the next one does the rest. */
  async #rankAgain(options: AbortOptions): Promise<void> {
    const { providers } = this.#situation
    for (const ranked of await this.#components.rank(options)) {
      const isMute = ranked.standing === 'live' && this.#survey.mute.has(ranked.id)
      providers.set(ranked.id, isMute ? { ...ranked, standing: 'suspect' } : ranked)
    }
  }

  async #look(pages: readonly LocatedPage[], options: AbortOptions): Promise<void> {
    const chunks = chunksOf(pages)
    const { strangers, isSettled } = this.#situation
    if (!isSettled) this.#expectUnknown(chunks)
    const asked = function* ({ pages: listed }: LookedAt): Generator<ProviderId> {
      yield* strangers
      for (const set of listed.values()) yield* set
    }
    await this.#survey.ask(chunks, asked, options)
    const found: Found = { surplus: [], lost: [] }
    const short: LookedAt[] = []
    for (const [at, chunk] of chunks.entries()) {
      if (at % CHUNKS_A_TURN === 0) await nextTurn()
      const plan = this.#planOf(chunk)
      if (plan.missing > 0) short.push(chunk)
      else this.#judge(chunk, plan, found)
    }
    const everybody = Array.from(this.#situation.providers.keys())
    await this.#survey.ask(short, () => everybody, options)
    for (const [at, chunk] of short.entries()) {
      if (at % CHUNKS_A_TURN === 0) await nextTurn()
      this.#judge(chunk, this.#planOf(chunk), found)
    }
    await this.#recover(found.lost, options)
    const isWritten = await this.#edits.flush(options)
    if (isWritten) await this.#trims.run(found.surplus, options)
  }

  /** Counts a chunk, has missing copies made, and notes what else is to be done. */
  #judge(chunk: LookedAt, plan: ChunkPlan, found: Found): void {
    const { size: pageCount } = chunk.pages
    this.tally.chunks += pageCount
    if (plan.live.length < this.#settings.replicas) this.tally.underReplicated += pageCount
    if (plan.sources.length === 0) found.lost.push(chunk)
    else if (plan.missing > 0) this.#want(chunk, plan)
    this.#correct(chunk, plan)
    if (plan.surplus.length === 0) return
    this.tally.surplus += plan.surplus.length * pageCount
    const staying = plan.live.filter((id) => !plan.surplus.includes(id))
    found.surplus.push({ id: chunk.id, losers: plan.surplus, staying, pageCount })
  }

  /** Whoever is named and has not reported yet counts as suspect. */
  #expectUnknown(chunks: readonly LookedAt[]): void {
    const { providers } = this.#situation
    const listed = chunks.flatMap(({ pages }) => [...pages.values()].flat())
    for (const id of new Set(listed)) {
      if (providers.has(id)) continue
      providers.set(id, { id, zone: '', freeBytes: 0, standing: 'suspect' })
    }
  }

  #planOf({ id, key, pages, holders, silent }: LookedAt): ChunkPlan {
    const { providers } = this.#situation
    const made = this.#copies.madeOf(key)
    const chance = (id[0] ?? 0) / 256
    const all = made.length === 0 ? holders : new Set([...holders, ...made])
    const known = { holders: [...all], silent: named(pages.values(), silent), chance }
    return planChunk(known, providers, this.#settings.replicas)
  }

  #want(chunk: LookedAt, { missing, sources }: ChunkPlan): void {
    const { id, holders, silent, pages } = chunk
    this.#copies.add({
      id,
      count: missing,
      copies: this.#readable(sources),
      sources,
      beside: [...holders, ...this.#copies.madeOf(chunk.key), ...silent],
      pages: new Set(pages.keys()),
      isShort: false,
      isLost: false,
      tries: 0
    })
  }

  /** Copies that are not at suspect providers. */
  #readable(sources: readonly ProviderId[]): number {
    const { providers } = this.#situation
    return sources.filter((id) => providers.get(id)?.standing !== 'suspect').length
  }

  /**
   * Brings the records up to date: in goes who holds the chunk and is to keep it, out go those who
   * do not hold it, and the dead ones once somebody else is known.
   */
  #correct({ key, pages, holders }: LookedAt, { live, surplus }: ChunkPlan): void {
    const { providers } = this.#situation
    const standing = (id: ProviderId) => providers.get(id)?.standing ?? 'dead'
    const made = this.#copies.madeOf(key)
    if (made.length + surplus.length === 0 && isAsListed(pages.values(), holders)) return
    const keeping = [...holders, ...made].filter((id) => !surplus.includes(id))
    for (const [page, listed] of pages) {
      const added = keeping.filter((id) => !listed.includes(id))
      const dropped = listed.filter((id) => {
        if (keeping.includes(id) || standing(id) === 'suspect') return false
        return standing(id) === 'dead' ? live.length > 0 : !this.#isSilent(id)
      })
      if (added.length + dropped.length > 0) this.#edits.note(page, key, { added, dropped })
    }
  }

  #isSilent(id: ProviderId): boolean {
    return this.#survey.mute.has(id)
  }

  /** Looks for what no provider has at other agents. */
  async #recover(lost: readonly LookedAt[], options: AbortOptions): Promise<void> {
    const found = await this.#search.find(lost, options)
    for (const chunk of lost) {
      const { id, key, pages, silent } = chunk
      this.tally.unreachable += pages.size
      const sources = found.get(key) ?? []
      const count = this.#planOf(chunk).missing
      if (sources.length === 0 || count === 0) continue
      const wanted = { id, count, copies: 0, sources, beside: [...silent], tries: 0 }
      const is = { isShort: false, isLost: true }
      this.#copies.add({ ...wanted, ...is, pages: new Set(pages.keys()) })
    }
  }
}
