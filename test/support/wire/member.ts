import { mkdir } from 'node:fs/promises'
import { layFoundation } from '../../../src/agent/compose/foundation.ts'
import {
  composeManagers,
  composeRepository,
  type Managers
} from '../../../src/agent/compose/managers.ts'
import { composeStorage, type Storage } from '../../../src/agent/compose/storage.ts'
import { loadConfig } from '../../../src/agent/config.ts'
import { pinoLogger } from '../../../src/agent/log-sink.ts'
import { enterCluster } from '../../../src/agent/membership.ts'
import { MetadataListKeeper } from '../../../src/agent/metadata-list.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import type { Repository } from '../../../src/metadata/repository.ts'

/** A member of a cluster inside this process: an agent's own parts, without its fronts. */
export interface WireMember {
  readonly peerId: string
  readonly repository: Repository
  readonly storage: Storage
  readonly managers: Managers
  stop(): Promise<void>
}

function fail(error: Error): void {
  throw error
}

/** Joins with a token, or again with what the folder holds. */
export async function joinCluster(dataDir: string, joinToken: string): Promise<WireMember> {
  const settings = ['agent.roles=deploy', `agent.dataDir=${dataDir}`]
  const config = loadConfig({ settings })
  const logger = pinoLogger('info')
  const foundation = await layFoundation(config, { joinToken, logger, stopOnFailure: fail })
  const { data, node, authority } = foundation
  const { roles } = config.agent
  const { signal } = new AbortController()
  await enterCluster({ data, node, roles, authority, joinToken, signal })
  const storage = composeStorage(foundation)
  const managers = composeManagers(foundation, storage)
  const repository = composeRepository(foundation, storage, managers)
  const log = logger.forComponent('test')
  const keeper = new MetadataListKeeper({
    data,
    node,
    authority: undefined,
    clock: systemClock,
    log
  })
  await mkdir(data.file('staging'), { recursive: true })
  await keeper.start()
  const services = [...storage.services, ...managers.services]
  for (const service of services) await service.start({ signal })
  const stop = async (): Promise<void> => {
    for (const service of services.toReversed()) await service.stop()
    await keeper.stop()
    await node.stop()
    await data.close()
  }
  return { peerId: node.peerId, repository, storage, managers, stop }
}
