import { blake3 } from '../lib/blake3.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger, LoggerFactory } from '../lib/logger.ts'
import { settledOrAborted } from '../lib/signals.ts'
import { toError } from '../lib/to-error.ts'
import { LetGo } from './let-go.ts'
import { PROVIDERS_PROTOCOL } from './protocols/providers.ts'
import { TREE_PROTOCOL } from './protocols/tree.ts'
import { VERSION_PROTOCOL } from './protocols/version.ts'
import type { ImageDirectory, PeerNode, ProtocolSpec, Role } from './types.ts'

/** Roles of which everybody needs somebody. */
type NeededRole = Extract<Role, 'metadata' | 'versionManager' | 'providerManager'>

/** What each of them answers. */
const PROTOCOLS: Readonly<Record<NeededRole, ProtocolSpec>> = {
  metadata: TREE_PROTOCOL,
  versionManager: VERSION_PROTOCOL,
  providerManager: PROVIDERS_PROTOCOL
}

const MANAGER_ROLES = ['versionManager', 'providerManager'] as const
type ManagerRole = (typeof MANAGER_ROLES)[number]

/** Peer ids of those who may have a role. */
type Candidates = Iterable<string> | AsyncIterable<string>

export interface ManagerFinderComponents {
  readonly node: Pick<PeerNode, 'members' | 'onMembersChanged' | 'open'>
  /** The DHT; managers are announced in it as holders of an image are. */
  readonly directory: ImageDirectory
  /** Peer ids on the metadata list: the DHT's servers. */
  readonly metadataProviders: () => readonly string[]
  readonly clock: Clock
  readonly logger: LoggerFactory
}

export interface ManagerFinderOptions {
  /** Roles that this agent has itself. */
  readonly roles: readonly Role[]
  /** First wait when nobody was found, in milliseconds; doubled each time. @default 250 */
  readonly minBackoffMs?: number | undefined
  /** Longest wait, in milliseconds. @default 15_000 */
  readonly maxBackoffMs?: number | undefined
}

/**
 * Connects this agent to one of the metadata providers, which are on a list that everybody has, and
 * to the cluster's managers. A manager that nobody has named is found through the DHT, whose servers
 * the metadata providers are, and where each announces itself. Whether it is what it says is proven
 * by its certificate in the hello.
 */
export class ManagerFinder {
  readonly #components: ManagerFinderComponents
  readonly #options: Required<ManagerFinderOptions>
  readonly #log: Logger
  readonly #stopped = new AbortController()
  #tasks: readonly Promise<void>[] = []

  constructor(components: ManagerFinderComponents, options: ManagerFinderOptions) {
    const { roles, minBackoffMs = 250, maxBackoffMs = 15_000 } = options
    if (!(minBackoffMs > 0) || !(maxBackoffMs >= minBackoffMs)) {
      throw new RangeError(`waits of ${minBackoffMs} to ${maxBackoffMs} ms`)
    }
    this.#components = components
    this.#options = { roles, minBackoffMs, maxBackoffMs }
    this.#log = components.logger.forComponent('blobswarm:peer:manager-finder')
  }

  /** Announces what this agent is, and looks for the rest in the background. Called once. */
  async start(): Promise<void> {
    const { directory, metadataProviders } = this.#components
    const has = (role: Role): boolean => this.#options.roles.includes(role)
    for (const role of MANAGER_ROLES) if (has(role)) directory.announce(roleName(role))
    const searches = MANAGER_ROLES.filter((role) => !has(role)).map(async (role) =>
      this.#keepConnected(role, () => this.#announced(role))
    )
    this.#tasks = [this.#keepConnected('metadata', metadataProviders), ...searches]
  }

  /** Resolves when nothing is looked for any more. */
  async stop(): Promise<void> {
    this.#stopped.abort(new Error('the manager finder has stopped'))
    await Promise.all(this.#tasks)
  }

  async #keepConnected(role: NeededRole, candidates: () => Candidates): Promise<void> {
    const { minBackoffMs, maxBackoffMs } = this.#options
    const { clock } = this.#components
    const { signal } = this.#stopped
    let waitMs = minBackoffMs
    const letGo = new LetGo()
    let foundMs: number | undefined
    while (!signal.aborted) {
      if (foundMs !== undefined && !this.#isConnected(role)) {
        letGo.lost(clock.monotonic() - foundMs)
        foundMs = undefined
        if (letGo.waitMs > 0) await this.#pause(letGo.waitMs)
      }
      const changed = this.#nextChange()
      if (this.#isConnected(role) || (await this.#find(role, candidates()))) {
        waitMs = minBackoffMs
        foundMs ??= clock.monotonic()
        await settledOrAborted(changed.promise, [signal])
      } else {
        await this.#pause(waitMs)
        waitMs = Math.min(maxBackoffMs, waitMs * 2)
      }
      changed.stop()
    }
  }

  #announced(role: ManagerRole): Candidates {
    const { signal } = this.#stopped
    return this.#components.directory.find(roleName(role), { signal })
  }

  #isConnected(role: NeededRole): boolean {
    return this.#components.node.members().some(({ roles }) => roles.has(role))
  }

  #nextChange(): { readonly promise: Promise<void>; readonly stop: () => void } {
    const { promise, resolve } = Promise.withResolvers<void>()
    const stop = this.#components.node.onMembersChanged(resolve)
    return { promise, stop }
  }

  /** @returns whether one of the candidates has the role and is connected now. */
  async #find(role: NeededRole, candidates: Candidates): Promise<boolean> {
    const { signal } = this.#stopped
    try {
      for await (const peerId of candidates) {
        if (!(await this.#meet(peerId, role))) continue
        this.#log.info('found %p with the role %s', peerId, role)
        return true
      }
    } catch (thrown) {
      if (!signal.aborted) this.#log.debug('no %s found: %e', role, toError(thrown))
    }
    return false
  }

  /** Opening the role's own protocol connects, says hello and shows that it is answered. */
  async #meet(peerId: string, role: NeededRole): Promise<boolean> {
    const { signal } = this.#stopped
    try {
      const channel = await this.#components.node.open(peerId, PROTOCOLS[role], { signal })
      const isTheOne = channel.remote.roles.has(role)
      await channel.close()
      return isTheOne
    } catch (thrown) {
      signal.throwIfAborted()
      this.#log.debug('%p is said to be the %s: %e', peerId, role, toError(thrown))
      return false
    }
  }

  async #pause(waitMs: number): Promise<void> {
    const { signal } = this.#stopped
    const slept = this.#components.clock.sleep(waitMs, { signal })
    await settledOrAborted(slept, [signal])
    slept.catch(() => {}) // stopped, which ends the loop
  }
}

/** What stands in the place of a manifest root in the DHT; no page hashes to it by chance. */
function roleName(role: ManagerRole): Uint8Array {
  return blake3(Buffer.from(`blobswarm role ${role}`))
}
