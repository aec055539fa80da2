import type { Clock } from '../../../src/lib/clock.ts'
import type { Random } from '../../../src/lib/random.ts'
import { SWARM_PROTOCOL } from '../../../src/peer/protocols/swarm.ts'
import type { Channel, PeerNode } from '../../../src/peer/types.ts'
import type { TestImage } from '../simulated-agent.ts'
import { type Behaviour, HOSTILE, type HostileName } from './hostile-behaviours.ts'
import { HostileConversation } from './hostile-conversation.ts'

export interface HostilePeerComponents {
  readonly node: PeerNode
  readonly image: TestImage
  readonly clock: Clock
  readonly random: Random
}

const RETRY_MS = 1500

/** A member that does not keep to the protocol: with whoever comes, and with those that it goes to. */
export class HostilePeer {
  readonly #components: HostilePeerComponents
  readonly #behaviour: Behaviour
  readonly #stop = new AbortController()
  readonly #visits = new Set<Promise<void>>()
  readonly peerId: string
  /** Streams on which it behaved like that. */
  talks = 0

  constructor(components: HostilePeerComponents, name: HostileName) {
    this.#components = components
    this.peerId = components.node.peerId
    this.#behaviour = HOSTILE[name]
  }

  async start(): Promise<void> {
    await this.#components.node.serve(SWARM_PROTOCOL, async (channel) => this.#talk(channel))
  }

  /** Goes to these peers, again and again while they let it. */
  attack(peers: readonly string[]): void {
    for (const peer of peers) {
      const visit = this.#attack(peer)
      this.#visits.add(visit)
    }
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('the attack is over'))
    await Promise.all(this.#visits)
  }

  async #attack(peer: string): Promise<void> {
    const { node, clock } = this.#components
    const { signal } = this.#stop
    while (!signal.aborted) {
      try {
        const channel = await node.open(peer, SWARM_PROTOCOL, { signal })
        const onStop = (): void => channel.abort(new Error('the attack is over'))
        signal.addEventListener('abort', onStop, { once: true })
        await this.#talk(channel)
        signal.removeEventListener('abort', onStop)
        channel.abort(new Error('done'))
      } catch {
        // Nobody there, or it has had enough.
      }
      await clock.sleep(RETRY_MS, { signal }).catch(() => {})
    }
  }

  async #talk(channel: Channel): Promise<void> {
    const { image, clock, random } = this.#components
    this.talks++
    try {
      await this.#behaviour(new HostileConversation({ channel, image, clock, random }))
    } catch {
      // The other end let go.
    }
  }
}
