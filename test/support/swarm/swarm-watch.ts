import { equalBytes } from '../../../src/lib/bytes.ts'
import type { Cancel } from '../../../src/lib/clock.ts'
import { decodeSwarmMessage } from '../../../src/peer/protocols/swarm-codec.ts'
import type { SimulatedAgent, TestImage } from '../simulated-agent.ts'
import type { SimulatedNetwork } from '../simulated-network.ts'
import type { VirtualClock } from '../virtual-clock.ts'

const CHUNK_MESSAGE = 7
const LOOK_MS = 200
const MAX_BROKEN = 10

/** What no agent may ever have more of, for one image or in all. */
const LIMITS = {
  neighbours: 24,
  candidates: 256,
  bans: 1000,
  queuedMessages: 4096,
  waitingRequests: 512,
  unfinishedChunks: 64,
  inFlightBytes: 32 * 1024 * 1024,
  uploadBytes: 64 * 1024 * 1024
}

/** Checks, while a swarm runs, what must hold at every moment. */
export class SwarmWatch {
  readonly #network: SimulatedNetwork
  readonly #image: TestImage
  readonly #agents: readonly SimulatedAgent[]
  readonly #distrusted = new Set<string>()
  readonly #broken: string[] = []
  #cancel: Cancel | undefined

  constructor(network: SimulatedNetwork, image: TestImage, agents: readonly SimulatedAgent[]) {
    this.#network = network
    this.#image = image
    this.#agents = agents
    network.observer = (from, to, message) => this.#sees(from, to, message)
  }

  /** Expects nothing of this one any more. */
  distrust(peerId: string): void {
    this.#distrusted.add(peerId)
  }

  isDistrusted(peerId: string): boolean {
    return this.#distrusted.has(peerId)
  }

  start(): void {
    this.#cancel = this.#network.clock.schedule(() => {
      this.#look()
      this.start()
    }, LOOK_MS)
  }

  stop(): void {
    this.#cancel?.()
  }

  broke(what: string): void {
    if (this.#broken.length >= MAX_BROKEN) return
    this.#broken.push(`${Math.round(this.#network.clock.monotonic())} ms: ${what}`)
  }

  /** Everybody has been stopped: no timer may be waiting and no channel be open. */
  checkNothingLeft(): void {
    const { scheduledCount } = this.#network.clock as VirtualClock
    if (scheduledCount > 0) this.broke(`${scheduledCount} timers are left`)
    const left = this.#network.openChannels((peerId) => !this.#distrusted.has(peerId))
    if (left.length > 0) this.broke(`channels are left: ${left.join(', ')}`)
  }

  throwIfBroken(): void {
    if (this.#broken.length > 0) throw new Error(this.#broken.join('\n'))
  }

  #sees(from: string, to: string, bytes: Uint8Array): void {
    if (bytes[0] !== CHUNK_MESSAGE || this.#distrusted.has(from)) return
    const message = decodeSwarmMessage(bytes)
    if (message.type !== 'chunk') return
    const { index, offset, part } = message
    const right = this.#image.chunks[index]?.subarray(offset, offset + part.byteLength)
    if (right !== undefined && equalBytes(part, right)) return
    this.broke(`${from} sent ${to} wrong bytes of chunk ${index}`)
  }

  #look(): void {
    for (const { peerId, service } of this.#agents) {
      const load = service.load()
      for (const [what, limit] of Object.entries(LIMITS)) {
        const value = load[what as keyof typeof LIMITS]
        if (value > limit) this.broke(`${peerId} has ${value} ${what}, at most ${limit}`)
      }
    }
  }
}
