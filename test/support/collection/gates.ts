import type { Random } from '../../../src/lib/random.ts'
import { nextTurn } from '../../../src/lib/turn.ts'
import type { CollectorComponents } from '../../../src/metadata/collection.ts'
import type { CollectedVersions } from '../../../src/metadata/collection-types.ts'
import type { CollectableMetadata, MetadataStore } from '../../../src/metadata/store-types.ts'
import type { TestRepository } from '../repository.ts'

/** Turns of the event loop without news after which all that can happen has happened. */
const QUIET_TURNS = 3

/** What a collector calls. */
export type CollectorParts = Pick<
  CollectorComponents,
  'versions' | 'providers' | 'metadataProviders' | 'pages'
>

/** Stands before every call of a collector, so that a test decides when each is made. */
export class Gates {
  readonly #random: Random
  readonly #waiting: { readonly name: string; readonly open: () => void }[] = []
  #active = 0
  #changes = 0
  /** What was let through last. */
  last = 'idle'

  constructor(random: Random) {
    this.#random = random
  }

  get isWaiting(): boolean {
    return this.#waiting.length > 0
  }

  /** Lets one call through that waits, and resolves when nothing more follows from it. */
  async openOne(): Promise<void> {
    const [next] = this.#waiting.splice(Math.floor(this.#random() * this.#waiting.length), 1)
    if (next === undefined) return
    this.last = next.name
    next.open()
    await this.settle()
  }

  /** Resolves when nothing happens any more until another gate opens. */
  async settle(): Promise<void> {
    for (let quiet = 0; quiet < QUIET_TURNS; quiet++) {
      const before = this.#changes
      await nextTurn()
      if (this.#active > 0 || this.#changes !== before) quiet = -1
    }
  }

  /** The parts of a collector, each of whose calls waits for its gate. */
  partsOf({ versions, providers, kept }: TestRepository): CollectorParts {
    const members = Array.from(providers, ([id, store]) => ({
      id,
      store: this.#gated(store, ['beginCollection', 'unleased', 'collect'])
    }))
    const metadata: CollectableMetadata = this.#gated(kept, [
      'beginCollection',
      'unleased',
      'nodeVersions',
      'collect'
    ])
    return {
      versions: {
        ...this.#gated<CollectedVersions>(versions.collected, [
          'applyRetention',
          'roots',
          'assigned',
          'recordOf',
          'forget'
        ]),
        beganMs: (options) => versions.collected.beganMs(options),
        pathsOf: (blobs, options) => versions.collected.pathsOf(blobs, options)
      },
      providers: async () => members,
      metadataProviders: () => [{ id: 'metadata', store: metadata }],
      pages: {
        ...this.#gated<Pick<MetadataStore, 'getPages'>>(kept, ['getPages']),
        getRecords: (names, options) => kept.getRecords(names, options)
      }
    }
  }

  #gated<T extends object>(real: T, names: readonly (keyof T & string)[]): T {
    const gated: Record<string, unknown> = {}
    for (const name of names) {
      const call = real[name] as (...values: unknown[]) => Promise<unknown>
      gated[name] = async (...values: unknown[]) => {
        await this.#pass(name)
        this.#active++
        try {
          return await call.apply(real, values)
        } finally {
          this.#active--
          this.#changes++
        }
      }
    }
    return gated as T
  }

  async #pass(name: string): Promise<void> {
    const opened = Promise.withResolvers<void>()
    this.#waiting.push({ name, open: opened.resolve })
    this.#changes++
    await opened.promise
  }
}
