import { readFileIfThere, writeFileDurably } from '../lib/atomic-file.ts'
import { equalBytes } from '../lib/bytes.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import type { Authority } from '../peer/authority.ts'
import { type MetadataProvider, verifyMetadataList } from '../peer/metadata-list.ts'
import type { Libp2pNode } from '../peer/node.ts'
import type { DataDirectory } from './data-directory.ts'

/** Name of the file in the data directory. */
export const METADATA_LIST = 'metadata-list'

/** The parts of the agent that the list is kept with. */
export interface MetadataListComponents {
  readonly data: Pick<DataDirectory, 'file'>
  readonly node: Pick<
    Libp2pNode,
    'peerId' | 'membership' | 'addresses' | 'addressesOf' | 'members' | 'onMembersChanged'
  >
  /** undefined where it is elsewhere. */
  readonly authority: Pick<Authority, 'signMetadataList'> | undefined
  readonly clock: Clock
  readonly log: Logger
}

export interface MetadataListOptions {
  /**
   * How long a provider is not connected before it is taken off the list, in milliseconds.
   *
   * @default 20000
   */
  readonly deadAfterMs?: number
}

/**
 * Keeps the metadata list. At the authority: puts itself and every metadata provider that says hello
 * onto it, and takes off who has not been connected for a while; with its next hello it comes back.
 * Everywhere else: remembers the newest list that was seen.
 */
export class MetadataListKeeper {
  readonly #components: MetadataListComponents
  readonly #absences: Absences
  readonly #stops: (() => void)[] = []
  #cancelTimer: Cancel = () => {}
  #work: Promise<void> = Promise.resolve()
  #isStopped = false

  constructor(components: MetadataListComponents, options: MetadataListOptions = {}) {
    const { deadAfterMs = 20_000 } = options
    this.#components = components
    this.#absences = new Absences(deadAfterMs)
  }

  async start(): Promise<void> {
    const { node, data, authority } = this.#components
    const { membership } = node
    if (authority === undefined) {
      this.#stops.push(membership.onMetadataListChanged(() => this.#run(async () => this.#save())))
      await this.#save()
      return
    }
    const list = await readFileIfThere(data.file(METADATA_LIST))
    if (list !== undefined) membership.offerMetadataList(list)
    await this.#update()
    this.#stops.push(node.onMembersChanged(() => this.#run(async () => this.#update())))
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    this.#cancelTimer()
    for (const stop of this.#stops) stop()
    await this.#work
  }

  #run(task: () => Promise<void>): void {
    this.#work = this.#work.then(task).catch((error: unknown) => {
      this.#components.log.error('metadata list not kept: %e', toError(error))
    })
  }

  async #update(): Promise<void> {
    const { node, authority, data, log } = this.#components
    const known = node.membership.metadataList
    const listed = new Map<string, MetadataProvider>(
      known?.providers.map((provider) => [provider.peerId, provider])
    )
    const present = this.#present(listed)
    for (const peerId of this.#revokedOf(listed, present)) listed.delete(peerId)
    const dead = this.#deadOf([...listed.keys()], present)
    for (const [peerId, provider] of present) listed.set(peerId, provider)
    for (const peerId of dead) listed.delete(peerId)
    const providers = [...listed.values()]
    if (known !== undefined && isSame(providers, known.providers)) return
    const number = (known?.number ?? 0) + 1
    const encoded = authority?.signMetadataList(number, providers)
    if (encoded === undefined) return
    await writeFileDurably(data.file(METADATA_LIST), encoded)
    node.membership.offerMetadataList(encoded)
    for (const peerId of dead) log.info('%p is gone and off the metadata list', peerId)
    log.info('metadata list %d has %d providers', number, providers.length)
  }

  /** Metadata providers that are there now, as they are to stand on the list. */
  #present(listed: ReadonlyMap<string, MetadataProvider>): Map<string, MetadataProvider> {
    const { node } = this.#components
    const present = new Map<string, MetadataProvider>()
    if (node.membership.self?.roles.has('metadata') === true) {
      present.set(node.peerId, { peerId: node.peerId, addresses: node.addresses() })
    }
    for (const { peerId, roles } of node.members()) {
      if (!roles.has('metadata')) continue
      const addresses = node.addressesOf(peerId)
      const known = addresses.length === 0 ? listed.get(peerId) : undefined
      present.set(peerId, known ?? { peerId, addresses })
    }
    return present
  }

  /** Who was shut out and has not come back with another certificate: nobody waits for them. */
  #revokedOf(
    listed: ReadonlyMap<string, unknown>,
    present: ReadonlyMap<string, unknown>
  ): string[] {
    const { revocations } = this.#components.node.membership
    return (revocations?.revoked ?? [])
      .map(({ peerId }) => peerId)
      .filter((peerId) => listed.has(peerId) && !present.has(peerId))
  }

  /** Who is taken off, and looks again when the next one may be. */
  #deadOf(listed: readonly string[], present: ReadonlyMap<string, unknown>): string[] {
    const { clock } = this.#components
    const { dead, nextMs } = this.#absences.look(listed, present, clock.monotonic())
    this.#cancelTimer()
    if (nextMs !== undefined && !this.#isStopped) {
      const update = (): void => this.#run(async () => this.#update())
      this.#cancelTimer = clock.schedule(update, nextMs)
    }
    return dead
  }

  async #save(): Promise<void> {
    const { node, data } = this.#components
    const { metadataList, clusterId } = node.membership.credentials()
    if (metadataList === undefined) return
    const path = data.file(METADATA_LIST)
    const saved = await readFileIfThere(path)
    if (saved !== undefined && equalBytes(saved, metadataList)) return
    verifyMetadataList(clusterId, metadataList)
    await writeFileDurably(path, metadataList)
  }
}

/**
 * Since when providers have been missing. While not a single one is there it is this agent that is
 * cut off, and nobody is dead: the list never becomes empty, and everybody has time to come back.
 */
export class Absences {
  readonly #deadAfterMs: number
  readonly #sinceMs = new Map<string, number>()

  constructor(deadAfterMs: number) {
    if (!(deadAfterMs > 0)) throw new RangeError(`deadAfterMs must be above 0, not ${deadAfterMs}`)
    this.#deadAfterMs = deadAfterMs
  }

  /**
   * Takes note of who is there.
   *
   * @returns who has been missing for too long, and in how many milliseconds the next one will have
   *   been.
   */
  look(
    listed: readonly string[],
    present: Pick<ReadonlyMap<string, unknown>, 'has' | 'size'>,
    nowMs: number
  ): { readonly dead: string[]; readonly nextMs: number | undefined } {
    const missing = listed.filter((peerId) => !present.has(peerId))
    for (const peerId of this.#sinceMs.keys()) {
      if (present.size === 0 || !missing.includes(peerId)) this.#sinceMs.delete(peerId)
    }
    if (present.size === 0) return { dead: [], nextMs: undefined }
    const dead: string[] = []
    const left: number[] = []
    for (const peerId of missing) {
      const sinceMs = this.#sinceMs.get(peerId) ?? nowMs
      this.#sinceMs.set(peerId, sinceMs)
      const leftMs = sinceMs + this.#deadAfterMs - nowMs
      if (leftMs > 0) {
        left.push(leftMs)
      } else {
        this.#sinceMs.delete(peerId)
        dead.push(peerId)
      }
    }
    return { dead, nextMs: left.length === 0 ? undefined : Math.min(...left) }
  }
}

function isSame(left: readonly MetadataProvider[], right: readonly MetadataProvider[]): boolean {
  return textOf(left) === textOf(right)
}

function textOf(providers: readonly MetadataProvider[]): string {
  return JSON.stringify(providers.toSorted((a, b) => (a.peerId < b.peerId ? -1 : 1)))
}
