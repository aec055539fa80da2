import { chunkKey } from '../chunks/chunk-id.ts'
import type { RankedProvider } from '../chunks/repair-plan.ts'
import type { ChunkId, ProviderId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { forEachConcurrently } from '../lib/concurrently.ts'
import { withDeadline } from '../lib/deadline.ts'
import { MalformedError } from '../lib/errors.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import type { ChunkHoarder, RepairerComponents } from './repair-types.ts'

/** Ids of one question. */
const IDS_AT_ONCE = 1024

/** Providers that are asked at the same time. */
const ASKED_AT_ONCE = 8

/** Who is asked about a chunk, and what came of it. */
export interface Question {
  readonly id: ChunkId
  /** Who is asked; everybody in it has been when the survey ends. */
  readonly asked: Set<ProviderId>
  /** Who said yes. */
  readonly holders: Set<ProviderId>
  /** Who did not answer. */
  readonly silent: Set<ProviderId>
}

type Asked = Pick<ChunkHoarder, 'holds'>

/**
 * Asks providers which chunks they hold, many at once. A provider that does not answer is not asked
 * again, and counts as suspect from then on if it counted as live. Lasts as long as one look.
 */
export class Survey {
  readonly #components: Pick<RepairerComponents, 'directory' | 'clock'> & { readonly log: Logger }
  readonly #timeoutMs: number
  readonly #providers: Map<ProviderId, RankedProvider>
  readonly #mute = new Set<ProviderId>()

  /** @param providers what is known of them; changed for those that do not answer. */
  constructor(
    components: Pick<RepairerComponents, 'directory' | 'clock'> & { readonly log: Logger },
    providers: Map<ProviderId, RankedProvider>,
    timeoutMs: number
  ) {
    this.#components = components
    this.#providers = providers
    this.#timeoutMs = timeoutMs
  }

  /** Providers that could not be asked. */
  get mute(): ReadonlySet<ProviderId> {
    return this.#mute
  }

  /** Asks about each chunk those of `whom` that are not dead and were not asked before. */
  async ask<Q extends Question>(
    questions: readonly Q[],
    whom: (question: Q) => Iterable<ProviderId>,
    options: AbortOptions
  ): Promise<void> {
    const perProvider = new Map<ProviderId, Question[]>()
    for (const question of questions) {
      for (const provider of whom(question)) {
        if (question.asked.has(provider) || !this.#isAskable(provider)) continue
        question.asked.add(provider)
        const some = perProvider.get(provider) ?? []
        perProvider.set(provider, some)
        some.push(question)
      }
    }
    await forEachConcurrently(
      perProvider,
      ASKED_AT_ONCE,
      async ([provider, some], signal) => await this.#askProvider(provider, some, { signal }),
      options
    )
  }

  /**
   * Asks agents that are no providers, the first that has a chunk is enough.
   *
   * @returns those that have it, by the chunk's map key.
   */
  async askHoarders(
    ids: readonly ChunkId[],
    hoarders: readonly ChunkHoarder[],
    options: AbortOptions
  ): Promise<Map<string, ProviderId[]>> {
    const found = new Map<string, ProviderId[]>()
    await forEachConcurrently(
      hoarders,
      ASKED_AT_ONCE,
      async (hoarder, signal) => {
        const wanted = ids.filter((id) => !found.has(chunkKey(id)))
        if (wanted.length === 0 || this.#mute.has(hoarder.source.id)) return
        try {
          const answers = await this.#holds(hoarder, wanted, { signal })
          for (const [at, id] of wanted.entries()) {
            if (answers[at] !== true) continue
            const key = chunkKey(id)
            found.set(key, [...(found.get(key) ?? []), hoarder.source.id])
          }
        } catch (thrown) {
          signal.throwIfAborted()
          const { id } = hoarder.source
          this.#mute.add(id)
          this.#components.log.debug('%p does not say what it has: %e', id, toError(thrown))
        }
      },
      options
    )
    return found
  }

  #isAskable(provider: ProviderId): boolean {
    const standing = this.#providers.get(provider)?.standing ?? 'dead'
    return standing !== 'dead'
  }

  async #askProvider(
    provider: ProviderId,
    questions: readonly Question[],
    options: AbortOptions
  ): Promise<void> {
    const asked = this.#mute.has(provider) ? undefined : this.#components.directory.open(provider)
    try {
      if (asked === undefined) throw new Error('it cannot be reached')
      const ids = questions.map(({ id }) => id)
      const answers = await this.#holds(asked, ids, options)
      for (const [at, { holders }] of questions.entries()) {
        if (answers[at] === true) holders.add(provider)
      }
    } catch (thrown) {
      options.signal?.throwIfAborted()
      for (const { silent } of questions) silent.add(provider)
      if (!this.#mute.has(provider)) this.#silence(provider, toError(thrown))
    }
  }

  #silence(provider: ProviderId, error: Error): void {
    this.#mute.add(provider)
    const known = this.#providers.get(provider)
    this.#components.log.debug('%p does not say what it holds: %e', provider, error)
    if (known?.standing === 'live') this.#providers.set(provider, { ...known, standing: 'suspect' })
  }

  async #holds(
    asked: Asked,
    ids: readonly ChunkId[],
    { signal }: AbortOptions
  ): Promise<boolean[]> {
    const { clock } = this.#components
    const timeoutMs = this.#timeoutMs
    const timedOut = (): Error => new Error(`no answer within ${timeoutMs} ms`)
    const answers: boolean[] = []
    for (let from = 0; from < ids.length; from += IDS_AT_ONCE) {
      const some = ids.slice(from, from + IDS_AT_ONCE)
      const said = await withDeadline(async (deadline) => await asked.holds(some, deadline), {
        clock,
        timeoutMs,
        timedOut,
        signal
      })
      if (said.length !== some.length) throw new MalformedError('answer to holds', 'its length')
      answers.push(...said)
    }
    return answers
  }
}
