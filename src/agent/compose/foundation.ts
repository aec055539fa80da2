import { systemClock } from '../../lib/clock.ts'
import { type EventLog, FileEventLog, noEvents } from '../../lib/events.ts'
import type { LoggerFactory } from '../../lib/logger.ts'
import { systemRandom } from '../../lib/random.ts'
import { Libp2pNode } from '../../peer/node.ts'
import type { AgentConfig } from '../config.ts'
import { DataDirectory } from '../data-directory.ts'
import { type ClusterAuthority, openAuthority } from '../membership.ts'
import { PrometheusMetrics } from '../prometheus.ts'
import type { AgentEvent } from '../pull-report.ts'
import { VERSION } from '../version.ts'

/** What the process gives an agent. */
export interface Surroundings {
  /** Used only while the data directory holds no certificate. */
  readonly joinToken?: string | undefined
  readonly logger: LoggerFactory
  /** Called when a part has failed in a way that only a restart can mend. */
  readonly stopOnFailure: (error: Error) => void
}

/** What every part of an agent builds on; made before the agent is a member of anything. */
export interface Foundation extends Surroundings {
  readonly config: AgentConfig
  readonly data: DataDirectory
  readonly seed: Uint8Array
  readonly node: Libp2pNode
  readonly authority: ClusterAuthority | undefined
  readonly metrics: PrometheusMetrics
  readonly events: EventLog<AgentEvent>
}

/** Opens the data directory, the keys and the node; nothing listens yet. */
export async function layFoundation(
  config: AgentConfig,
  surroundings: Surroundings
): Promise<Foundation> {
  const { logger, joinToken } = surroundings
  const { roles, events: eventsFile } = config.agent
  const data = new DataDirectory(config.agent.dataDir)
  await data.open()
  const seed = await data.seed('agent.key', true)
  if (seed === undefined) throw new TypeError('an agent without a key')
  const certificateMs = config.cluster.certificateLifetime
  const authority = await openAuthority(data, { roles, joinToken, certificateMs }, systemClock)
  const metrics = new PrometheusMetrics()
  const node = await Libp2pNode.create(
    { clock: systemClock, random: systemRandom, logger, metrics, issuer: authority?.issuer },
    seed,
    {
      listen: [await listenAddress(config, data)],
      announce: config.cluster.advertise,
      agentVersion: VERSION,
      maxConnections: config.network.maxConnections
    }
  )
  const events = openEvents(eventsFile, node.peerId, logger)
  return { ...surroundings, config, data, seed, node, authority, metrics, events }
}

function openEvents(path: string, self: string, logger: LoggerFactory): EventLog<AgentEvent> {
  if (path === '') return noEvents
  const log = logger.forComponent('blobswarm:agent:events')
  return new FileEventLog(path, {
    self,
    now: () => systemClock.now(),
    onError: (error) => log.error('events are not written any more: %e', error)
  })
}

/** Port 0 is chosen once: other agents look for this one where they found it last. */
async function listenAddress(config: AgentConfig, data: DataDirectory): Promise<string> {
  const { listen } = config.network
  if (!listen.endsWith('/tcp/0')) return listen
  const last = (await data.readText('listen'))?.trim()
  const isSameHost = last?.startsWith(listen.slice(0, -1)) === true
  return isSameHost && last !== undefined ? last : listen
}

/** The multiaddr that was really listened on, port included. */
export function listenedOn(config: AgentConfig, node: Libp2pNode): string {
  const { listen } = config.network
  const host = listen.replace(/\/tcp\/\d+$/, '')
  const port = /\/tcp\/(\d+)/.exec(node.addresses()[0] ?? '')?.[1] ?? '0'
  return `${host}/tcp/${port}`
}
