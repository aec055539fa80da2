import type { SwarmDescription } from '../../src/peer/swarm/description.ts'
import type { SwarmEvent } from '../../src/peer/swarm/events.ts'
import { SimulatedAgent, type SimulatedAgentOptions, type TestImage } from './simulated-agent.ts'
import { SimulatedNetwork } from './simulated-network.ts'
import { VirtualClock } from './virtual-clock.ts'

/** A network with agents on virtual time. */
export class SwarmStage {
  readonly clock = new VirtualClock()
  readonly network = new SimulatedNetwork(this.clock)
  #seed = 0

  async agent(peerId: string, options: SimulatedAgentOptions = {}): Promise<SimulatedAgent> {
    const agent = new SimulatedAgent(this.network, peerId, { seed: this.#seed++, ...options })
    await agent.start()
    return agent
  }

  /** A provider that has those chunks of an image. */
  async provider(
    image: TestImage,
    options: SimulatedAgentOptions = {},
    has: (index: number) => boolean = () => true
  ): Promise<SimulatedAgent> {
    const agent = await this.agent('provider', { roles: ['provider'], knows: [image], ...options })
    await agent.fill(image, has)
    return agent
  }
}

/** The image's swarm as an agent describes it. */
export function described(agent: SimulatedAgent, image: TestImage): SwarmDescription {
  const description = agent.service.describe(image.manifest.root)
  if (description === undefined) throw new Error(`${agent.peerId} has no part in the image`)
  return description
}

type EventOf<K extends SwarmEvent['event']> = SwarmEvent & { readonly event: K }

/** The events of one kind that an agent told. */
export function eventsOf<K extends SwarmEvent['event']>(
  agent: SimulatedAgent,
  kind: K
): EventOf<K>[] {
  return agent.events.events.filter((event): event is EventOf<K> => event.event === kind)
}
