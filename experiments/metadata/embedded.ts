/**
 * A process, forked by run.ts, that is an agent with the managers and the metadata, composed as every agent is, and has
 * its writers inside, as a front does that publishes what it was sent.
 */
import { layFoundation } from '../../src/agent/compose/foundation.ts'
import { composeManagers } from '../../src/agent/compose/managers.ts'
import { composeStorage } from '../../src/agent/compose/storage.ts'
import { loadConfig } from '../../src/agent/config.ts'
import { enterCluster } from '../../src/agent/membership.ts'
import { MetadataListKeeper } from '../../src/agent/metadata-list.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { runOrder, type WriterOrder } from './writing.ts'

const [dataDir = ''] = process.argv.slice(2)
const { signal } = new AbortController()
const config = loadConfig({
  flags: {
    'agent.dataDir': dataDir,
    'agent.roles': 'versionManager,providerManager,metadata,provider'
  }
})
const foundation = await layFoundation(config, { logger: noLogger, stopOnFailure: fail })
const { data, node, authority } = foundation
await enterCluster({
  data,
  node,
  roles: config.agent.roles,
  authority,
  joinToken: undefined,
  signal
})
const storage = composeStorage(foundation)
const managers = composeManagers(foundation, storage)
const keeper = new MetadataListKeeper(
  {
    data,
    node,
    authority: authority?.authority,
    clock: systemClock,
    log: noLogger.forComponent('list')
  },
  { deadAfterMs: config.metadata.deadAfter }
)
await keeper.start()
const services = [...storage.services, ...managers.services]
for (const service of services) await service.start({ signal })
process.on('message', (order: WriterOrder | 'stop') => void obey(order).catch(fail))
process.on('disconnect', () => process.exit(1))
process.send?.('ready')

async function obey(order: WriterOrder | 'stop'): Promise<void> {
  const { versions } = managers
  const { metadata, signer } = storage
  if (order !== 'stop') {
    process.send?.(await runOrder({ versions, metadata, signer }, order))
    return
  }
  for (const service of services.toReversed()) await service.stop()
  await keeper.stop()
  await node.stop()
  await data.close()
  process.exit(0)
}

function fail(error: Error): void {
  process.stderr.write(`${error.stack ?? error.message}\n`)
  process.exit(1)
}
