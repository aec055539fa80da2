import { LocalProviderManager } from '../../chunks/provider-manager.ts'
import { ReplicatedReader } from '../../chunks/replicated-reader.ts'
import { ReplicatedWriter } from '../../chunks/replicated-writer.ts'
import type { ProviderManager } from '../../chunks/types.ts'
import { systemClock } from '../../lib/clock.ts'
import { systemRandom } from '../../lib/random.ts'
import { LocalVersionManager } from '../../metadata/local-version-manager.ts'
import { Repository } from '../../metadata/repository.ts'
import { ManifestSealer } from '../../metadata/sealing.ts'
import type { Namespace, VersionManager } from '../../metadata/types.ts'
import { serveProviders } from '../../peer/protocols/providers-serve.ts'
import { serveVersion } from '../../peer/protocols/version-serve.ts'
import { memberWithRole } from '../../peer/remote/find-role.ts'
import { NetworkProviderDirectory } from '../../peer/remote/provider-directory.ts'
import { RemoteProviderManager } from '../../peer/remote/provider-manager.ts'
import { RemoteVersionManager } from '../../peer/remote/version-manager.ts'
import type { Role } from '../../peer/types.ts'
import type { AgentService } from '../agent.ts'
import { Heartbeat } from '../heartbeat.ts'
import { composeCollectionTimer, composeCollector } from './collection.ts'
import type { Foundation } from './foundation.ts'
import { serviceOf } from './service.ts'
import type { Storage } from './storage.ts'

/** Version manager, provider manager and chunk I/O: this agent's own where it has the role, others' elsewhere. */
export function composeManagers(foundation: Foundation, storage: Storage) {
  const { config, node, logger, metrics } = foundation
  const { verifier, metadata, signer, provider: local } = storage
  const has = (role: Role): boolean => config.agent.roles.includes(role)
  const common = { node, clock: systemClock, logger }
  const remoteProviders = new RemoteProviderManager({
    ...common,
    find: memberWithRole(node, 'providerManager')
  })
  const providers: ProviderManager = has('providerManager')
    ? new LocalProviderManager(
        { clock: systemClock, random: systemRandom },
        {
          suspectAfterMs: config.repair.suspectAfter,
          deadAfterMs: config.repair.deadAfter,
          placement: config.providers.placement
        }
      )
    : remoteProviders
  const directory = new NetworkProviderDirectory({ ...common, providers, local, signer })
  const reading = { directory, providers, random: systemRandom, localId: local?.id, logger }
  const reader = new ReplicatedReader(reading)
  const { replicas, writeQuorum } = config.storage
  const writer = new ReplicatedWriter(
    { directory, providers, logger, metrics },
    { replicas, writeQuorum }
  )
  const sealer = new ManifestSealer({ metadata, reader, writer, signer, verifier, logger })
  const localVersions = has('versionManager')
    ? composeVersionManager(foundation, storage, sealer)
    : undefined
  const collector =
    localVersions === undefined
      ? undefined
      : composeCollector(foundation, storage, { versions: localVersions, providers, directory })
  const find = memberWithRole(node, 'versionManager')
  const remoteVersions = new RemoteVersionManager({ ...common, verifier, find })
  const versions: VersionManager & Namespace = localVersions ?? remoteVersions
  const services: AgentService[] = [
    serviceOf('managers', {
      start: async () => {
        if (has('providerManager')) await serveProviders(node, { providers, ...common })
        if (localVersions === undefined || collector === undefined) return
        await localVersions.start()
        await serveVersion(node, {
          versions: localVersions,
          namespace: localVersions,
          collector,
          ...common
        })
      },
      stop: async () => {
        await collector?.stop()
        await localVersions?.stop()
        await Promise.all([remoteVersions.stop(), remoteProviders.stop(), directory.stop()])
      }
    }),
    ...composeCollectionTimer(foundation, collector)
  ]
  const collecting = collector ?? remoteVersions
  return { providers, directory, reader, writer, versions, collector: collecting, services }
}

/** What `composeManagers` gives. */
export type Managers = ReturnType<typeof composeManagers>

function composeVersionManager(
  foundation: Foundation,
  { metadata, signer, verifier }: Storage,
  sealer: ManifestSealer
): LocalVersionManager {
  const { config, data, node, logger, metrics, stopOnFailure } = foundation
  return new LocalVersionManager(
    {
      sealer,
      metadata,
      signer,
      verifier,
      clock: systemClock,
      random: systemRandom,
      logger,
      metrics,
      onFailure: stopOnFailure
    },
    {
      folder: data.path,
      clusterId: node.membership.credentials().clusterId,
      leaseMs: config.versions.lease
    }
  )
}

/** Images by path and version, for the fronts and the control API. */
export function composeRepository(
  { config, data, logger, metrics }: Foundation,
  { metadata, signer, verifier }: Storage,
  { versions, reader, writer }: Managers
): Repository {
  const { replicas, chunkBytes, uploadBudgetBytes, writeQuorum, lease } = config.storage
  return new Repository(
    {
      versions,
      namespace: versions,
      metadata,
      writer,
      reader,
      signer,
      verifier,
      clock: systemClock,
      logger,
      metrics
    },
    {
      stagingFolder: data.file('staging'),
      uploadBudgetBytes,
      replicas,
      chunkBytes,
      leaseMs: lease,
      ...(writeQuorum === 0 ? {} : { writeQuorum })
    }
  )
}

/** Reports this agent's store to the provider manager, if it is a provider. */
export function composeHeartbeat(
  { config, logger }: Foundation,
  { provider }: Storage,
  { providers }: Managers
): AgentService[] {
  if (provider === undefined) return []
  const log = logger.forComponent('blobswarm:agent:heartbeat')
  const components = { provider, providers, clock: systemClock, log }
  return [new Heartbeat(components, config.cluster.zone, config.providers.heartbeat)]
}
