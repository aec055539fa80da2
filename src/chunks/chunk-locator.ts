import { abortable } from '../lib/abortable.ts'
import { Budget } from '../lib/budget.ts'
import { type Clock, systemClock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import { isZeroChunk } from './chunk-id.ts'
import { NoProviderError } from './errors.ts'
import type { ProviderManager, ProviderState } from './provider-manager-types.ts'
import type { ProviderDirectory } from './provider-types.ts'
import type { LocateOptions } from './replica-types.ts'
import type { ChunkId, ProviderId } from './types.ts'

export interface ChunkLocatorComponents {
  readonly directory: ProviderDirectory
  readonly providers: Pick<ProviderManager, 'list'>
  readonly logger: Logger
  /** Tells how old a list of the providers is. @default the machine's clock */
  readonly clock?: Pick<Clock, 'monotonic'> | undefined
  /** Told how the providers are, whenever that is learnt. */
  readonly onStates?: ((states: readonly ProviderState[]) => void) | undefined
}

export interface ChunkLocatorOptions {
  /** Chunks that one look-up asks for at most. @default 1024 */
  readonly maxIds?: number | undefined
  /** Look-ups at the same time. @default 4 */
  readonly maxLookups?: number | undefined
  /**
   * Time that a look-up may take, in milliseconds; providers that are slower do not count.
   *
   * @default 5000
   */
  readonly timeoutMs?: number | undefined
  /** Time for which a provider that was too slow is not asked again, in milliseconds. @default 10_000 */
  readonly silenceMs?: number | undefined
}

/** Look-ups within this time of a list of the providers do with it, in milliseconds. */
const LIST_AGE_MS = 500

interface Question {
  readonly id: ChunkId
  /** Who is asked; none for all. */
  readonly among: readonly ProviderId[]
  readonly holders: ProviderId[]
  readonly onUnanswered: LocateOptions['onUnanswered']
}

interface Lookup {
  readonly questions: Question[]
  readonly answered: Promise<void>
}

/**
 * Finds out which live providers have chunks already. What is asked in the same turn of the event
 * loop, or while enough look-ups run, becomes one question to each provider. A provider that does
 * not answer counts as having nothing, because most callers only lose a transfer saved; the others
 * are told.
 */
export class ChunkLocator {
  readonly #components: ChunkLocatorComponents
  readonly #clock: Pick<Clock, 'monotonic'>
  readonly #maxIds: number
  readonly #timeoutMs: number
  readonly #silenceMs: number
  /** Providers that were too slow, and until when nobody waits for them. */
  readonly #silentUntilMs = new Map<ProviderId, number>()
  readonly #slots: Budget
  /** The look-up that still takes questions. */
  #open: Lookup | undefined
  #states: readonly ProviderState[] = []
  #listedAt = -Infinity

  constructor(components: ChunkLocatorComponents, options: ChunkLocatorOptions = {}) {
    const { maxIds = 1024, maxLookups = 4, timeoutMs = 5000, silenceMs = 10_000 } = options
    if (!(maxIds >= 1) || !(timeoutMs > 0)) throw new RangeError(`${maxIds} ids, ${timeoutMs} ms`)
    if (!(silenceMs >= 0)) throw new RangeError(`${silenceMs} ms of silence`)
    this.#components = components
    this.#clock = components.clock ?? systemClock
    this.#maxIds = maxIds
    this.#timeoutMs = timeoutMs
    this.#silenceMs = silenceMs
    this.#slots = new Budget(maxLookups, 'maxLookups')
  }

  /**
   * @returns for each id the providers that have it, in alphabetical order; none for the zero
   * chunk.
   */
  async locate(
    ids: readonly ChunkId[],
    options: LocateOptions = {}
  ): Promise<(readonly ProviderId[])[]> {
    const { among, onUnanswered } = options
    const waiting = new Set<Promise<void>>()
    const questions = ids.map((id, at): Question => {
      return { id, among: among?.[at] ?? [], holders: [], onUnanswered }
    })
    for (const question of questions.filter(({ id }) => !isZeroChunk(id))) {
      const lookup = this.#openLookup()
      lookup.questions.push(question)
      waiting.add(lookup.answered)
      if (lookup.questions.length >= this.#maxIds) this.#open = undefined
    }
    await abortable(Promise.all(waiting), options.signal)
    return questions.map(({ holders }) => holders.toSorted())
  }

  #openLookup(): Lookup {
    if (this.#open !== undefined) return this.#open
    const questions: Question[] = []
    const lookup = { questions, answered: this.#run(questions) }
    this.#open = lookup
    return lookup
  }

  async #run(questions: Question[]): Promise<void> {
    await Promise.resolve() // the caller's other questions join first
    await this.#slots.acquire(1)
    if (this.#open?.questions === questions) this.#open = undefined
    try {
      const signal = AbortSignal.timeout(this.#timeoutMs)
      const states = await this.#list(signal)
      await Promise.all(states.map((state) => this.#ask(state, questions, signal)))
      noteStrangers(states, questions)
    } catch (thrown) {
      this.#components.logger.debug('chunks not looked up: %e', toError(thrown))
      for (const { onUnanswered } of questions) onUnanswered?.(undefined)
    } finally {
      this.#slots.release(1)
    }
  }

  /** The providers as they are, or were a moment ago. */
  async #list(signal: AbortSignal): Promise<readonly ProviderState[]> {
    const now = this.#clock.monotonic()
    if (now - this.#listedAt < LIST_AGE_MS) return this.#states
    this.#states = await this.#components.providers.list({ signal })
    this.#listedAt = now
    this.#components.onStates?.(this.#states)
    return this.#states
  }

  #isSilent(provider: ProviderId): boolean {
    const untilMs = this.#silentUntilMs.get(provider)
    if (untilMs === undefined) return false
    if (this.#clock.monotonic() < untilMs) return true
    this.#silentUntilMs.delete(provider)
    return false
  }

  async #ask(
    { id: provider, condition }: ProviderState,
    all: readonly Question[],
    signal: AbortSignal
  ): Promise<void> {
    const questions = all.filter(({ among }) => among.length === 0 || among.includes(provider))
    if (questions.length === 0) return
    try {
      if (condition !== 'live') throw new NoProviderError(`${provider} is ${condition}`)
      const asked = this.#components.directory.open(provider)
      if (asked === undefined) throw new NoProviderError(`${provider} is unknown`)
      if (this.#isSilent(provider)) throw new NoProviderError(`${provider} was silent just now`)
      const ids = questions.map(({ id }) => id)
      const answers = await asked.has(ids, { signal })
      for (const [at, { holders }] of questions.entries()) {
        if (answers[at] === true) holders.push(provider)
      }
    } catch (thrown) {
      // Once is enough: every batch of an upload would wait as long for one that hangs.
      if (signal.aborted)
        this.#silentUntilMs.set(provider, this.#clock.monotonic() + this.#silenceMs)
      this.#components.logger.debug('%p did not say what it has: %e', provider, toError(thrown))
      for (const { onUnanswered } of questions) onUnanswered?.(provider)
    }
  }
}

/** Tells of providers that were to be asked and are not on the list. */
function noteStrangers(states: readonly ProviderState[], questions: readonly Question[]): void {
  const listed = new Set(states.map(({ id }) => id))
  for (const { among, onUnanswered } of questions) {
    for (const provider of among) if (!listed.has(provider)) onUnanswered?.(provider)
  }
}
