import { mkdir, rm } from 'node:fs/promises'
import { resolve } from 'node:path'
import { systemClock } from '../lib/clock.ts'
import { FileEventLog } from '../lib/events.ts'
import { Agent, type AgentService } from './agent.ts'
import { AgentControl } from './agent-control.ts'
import {
  type Foundation,
  layFoundation,
  listenedOn,
  type Surroundings
} from './compose/foundation.ts'
import { composeGridFtp, composeHttp, type Outward } from './compose/fronts.ts'
import { composeImageCache } from './compose/image-cache.ts'
import { composeKeptUploads } from './compose/kept-uploads.ts'
import { composeHeartbeat, composeManagers, composeRepository } from './compose/managers.ts'
import { composeMovers } from './compose/movers.ts'
import { composeScrubber } from './compose/repair.ts'
import { serviceOf } from './compose/service.ts'
import { composeStorage } from './compose/storage.ts'
import { composeSwarm } from './compose/swarm.ts'
import { composeTrust } from './compose/trust.ts'
import type { AgentConfig } from './config.ts'
import { ControlServer } from './control-server.ts'
import { enterCluster } from './membership.ts'
import { PartialFiles } from './partial-files.ts'
import { VERSION } from './version.ts'

/**
 * Builds an agent with the roles that its configuration names. It has the data directory to itself from now on.
 *
 * @throws {DataDirectoryError} if the data directory cannot be used.
 */
export async function composeAgent(
  config: AgentConfig,
  surroundings: Surroundings
): Promise<Agent> {
  const foundation = await layFoundation(config, surroundings)
  const { node, data, events, logger } = foundation
  const addresses: { gridftp?: () => string; http?: () => string } = {}
  const socket =
    config.control.socket === '' ? data.file('control.sock') : resolve(config.control.socket)
  const describe = () => ({
    peerId: node.peerId,
    addresses: node.addresses(),
    gridftp: addresses.gridftp?.(),
    http: addresses.http?.(),
    socket,
    pid: process.pid
  })
  const membership: AgentService = {
    name: 'membership',
    start: async ({ signal }) => {
      const { authority } = foundation
      const { joinToken } = surroundings
      await enterCluster({ data, node, roles: config.agent.roles, authority, joinToken, signal })
      await data.writeText('listen', `${listenedOn(config, node)}\n`)
      agent.add(composeServices(foundation, { socket, addresses, agent: () => agent }))
    },
    stop: async () => node.stop()
  }
  const log = logger.forComponent('blobswarm:agent')
  const agent = new Agent(
    [
      serviceOf('data directory', { stop: async () => data.close() }),
      serviceOf('events', {
        stop: async () => {
          if (events instanceof FileEventLog) await events.close()
        }
      }),
      membership
    ],
    describe,
    log
  )
  return agent
}

/** Builds everything that a member does; the order is the order in which it is started. */
function composeServices(foundation: Foundation, outward: Outward): AgentService[] {
  const { config, data, node, logger } = foundation
  const trust = composeTrust(foundation)
  const storage = composeStorage(foundation)
  const managers = composeManagers(foundation, storage)
  const keptUploads = composeKeptUploads(foundation, managers)
  const repository = composeRepository(foundation, storage, { ...managers, keptUploads })
  const swarm = composeSwarm(foundation, storage)
  const cache = composeImageCache(foundation, storage, swarm.service)
  const movers = composeMovers(foundation, repository, swarm.directory)
  const partials = new PartialFiles(
    data.file('partials'),
    logger.forComponent('blobswarm:agent:pull')
  )
  const scrubber = composeScrubber(foundation, storage)
  const control = new AgentControl(
    {
      ...storage,
      ...managers,
      scrubber,
      keptUploads,
      repository,
      swarm: swarm.service,
      cache,
      partials,
      cluster: trust.cluster,
      node,
      clock: systemClock,
      logger,
      events: foundation.events
    },
    {
      version: VERSION,
      roles: config.agent.roles,
      zone: config.cluster.zone,
      replicas: config.storage.replicas,
      metadataList: () => node.membership.metadataList
    }
  )
  const controlServer = new ControlServer(control, logger, outward.socket)
  return [
    ...trust.services,
    ...storage.services,
    ...managers.services,
    serviceOf('partial files', partials),
    serviceOf('staging', { start: async () => clearStaging(data.file('staging')) }),
    ...swarm.services,
    serviceOf('image cache', { start: async () => cache.start() }),
    ...composeHeartbeat(foundation, storage, managers),
    ...(scrubber === undefined ? [] : [scrubber]),
    ...(keptUploads === undefined ? [] : [serviceOf('kept uploads', keptUploads)]),
    ...movers.services,
    ...composeGridFtp(foundation, { repository, movers: movers.front }, outward),
    serviceOf('pulls', { stop: async () => control.stop() }),
    serviceOf('control', controlServer),
    ...composeHttp(foundation, control, outward)
  ]
}

/** Part-filled chunks of uploads that a crash cut off are of no use to anyone. */
async function clearStaging(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true, mode: 0o700 })
}
