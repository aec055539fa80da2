import type { Clock } from '../../../src/lib/clock.ts'
import type { Random } from '../../../src/lib/random.ts'
import type { HandshakeMessage, SwarmMessage } from '../../../src/peer/protocols/swarm.ts'
import { decodeSwarmMessage, encodeSwarmMessage } from '../../../src/peer/protocols/swarm-codec.ts'
import type { Channel } from '../../../src/peer/types.ts'
import type { TestImage } from '../simulated-agent.ts'

export interface ConversationComponents {
  readonly channel: Channel
  readonly image: TestImage
  readonly clock: Clock
  readonly random: Random
}

/** One stream of the swarm protocol, on which anything at all can be said. */
export class HostileConversation {
  readonly image: TestImage
  readonly clock: Clock
  readonly random: Random
  readonly #channel: Channel
  readonly #incoming: AsyncIterator<Uint8Array>

  constructor({ channel, image, clock, random }: ConversationComponents) {
    this.image = image
    this.clock = clock
    this.random = random
    this.#channel = channel
    this.#incoming = channel.messages()[Symbol.asyncIterator]()
  }

  get hasEnded(): boolean {
    return this.#channel.ended.aborted
  }

  get chunkCount(): number {
    return this.image.manifest.chunkCount
  }

  /** Every index, as many times over as asked for. */
  indexes(times = 1): number[] {
    return Array.from({ length: this.chunkCount * times }, (_, n) => n % this.chunkCount)
  }

  /** Says a handshake that is right but for what is given. */
  async introduce(about: Partial<HandshakeMessage> = {}): Promise<void> {
    await this.say({
      type: 'handshake',
      root: this.image.manifest.root,
      wants: false,
      holdsAll: true,
      pagesOnly: false,
      chunkCount: this.chunkCount,
      addresses: [],
      bitfield: undefined,
      ...about
    })
  }

  async say(message: SwarmMessage): Promise<void> {
    await this.sayBytes(encodeSwarmMessage(message))
  }

  async sayBytes(parts: readonly Uint8Array[]): Promise<void> {
    await this.#channel.send(parts)
  }

  /** Says the same again and again until nobody listens, each time after `pauseMs`. */
  async repeat(say: () => Promise<void>, pauseMs: number): Promise<void> {
    while (!this.hasEnded) {
      await say()
      await this.clock.sleep(pauseMs)
    }
  }

  /** Answers whatever comes until the stream ends. */
  async answer(answer: (message: SwarmMessage) => Promise<void>): Promise<void> {
    for (;;) {
      const { done, value } = await this.#incoming.next()
      if (done === true) return
      await answer(decodeSwarmMessage(value))
    }
  }

  /** Reads and forgets until the stream ends. */
  async listen(): Promise<void> {
    await this.answer(async () => {})
  }

  /** Waits without reading until the stream ends. */
  async ignore(): Promise<void> {
    const { ended } = this.#channel
    if (ended.aborted) return
    await new Promise<void>((resolve) => {
      ended.addEventListener('abort', () => resolve(), { once: true })
    })
  }

  /** Vanishes. */
  cut(): void {
    this.#channel.abort(new Error('cut'))
  }
}
