import type { RepairOverview } from '../../chunks/maintenance-types.ts'
import { LocalProviderManager } from '../../chunks/provider-manager.ts'
import type { ProviderManager } from '../../chunks/provider-manager-types.ts'
import { ReplicatedReader } from '../../chunks/replicated-reader.ts'
import { ReplicatedWriter } from '../../chunks/replicated-writer.ts'
import { systemClock } from '../../lib/clock.ts'
import { systemRandom } from '../../lib/random.ts'
import type { KeptUploads } from '../../metadata/kept-uploads.ts'
import { LocalVersionManager } from '../../metadata/local-version-manager.ts'
import { Repository } from '../../metadata/repository.ts'
import { ManifestSealer } from '../../metadata/sealing.ts'
import type { VersionManager } from '../../metadata/version-manager-types.ts'
import { serveProviders } from '../../peer/protocols/providers-serve.ts'
import { serveVersion } from '../../peer/protocols/version-serve.ts'
import { memberWithRole } from '../../peer/remote/find-role.ts'
import { NetworkProviderDirectory } from '../../peer/remote/provider-directory.ts'
import { RemoteProviderManager } from '../../peer/remote/provider-manager.ts'
import { RemoteVersionManager } from '../../peer/remote/version-manager.ts'
import type { Role } from '../../peer/types.ts'
import type { AgentService } from '../agent.ts'
import { Heartbeat } from '../heartbeat.ts'
import { VERSION } from '../version.ts'
import { composeCollectionTimer, composeCollector } from './collection.ts'
import type { Foundation } from './foundation.ts'
import { composeRepairer } from './repair.ts'
import { serviceOf } from './service.ts'
import type { Storage } from './storage.ts'

/** A provider manager that has restarted waits no longer than this for providers to report. */
const MAX_SETTLE_MS = 10_000

/** Version manager, provider manager and chunk I/O: this agent's own where it has the role, others' elsewhere. */
export function composeManagers(foundation: Foundation, storage: Storage) {
  const { config, node, logger, metrics } = foundation
  const { verifier, metadata, signer, provider: local, remotes } = storage
  const has = (role: Role): boolean => config.agent.roles.includes(role)
  const common = { node, clock: systemClock, logger }
  const remoteProviders = new RemoteProviderManager({
    ...common,
    find: memberWithRole(node, 'providerManager')
  })
  const localProviders = has('providerManager')
    ? new LocalProviderManager(
        { clock: systemClock, random: systemRandom, logger, metrics },
        {
          suspectAfterMs: config.repair.suspectAfter,
          deadAfterMs: config.repair.deadAfter,
          placement: config.providers.placement,
          zones: config.providers.zones,
          stripeWidth: config.providers.stripeWidth,
          maxReplicas: config.storage.replicas,
          settleMs: Math.min(MAX_SETTLE_MS, 2 * config.providers.heartbeat)
        }
      )
    : undefined
  const providers: ProviderManager = localProviders ?? remoteProviders
  const directory = new NetworkProviderDirectory({ ...common, providers, local, remotes })
  const repairer =
    localProviders && composeRepairer(foundation, storage, { providers: localProviders, directory })
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
      : composeCollector(foundation, storage, {
          versions: localVersions.collected,
          providers,
          directory
        })
  const find = memberWithRole(node, 'versionManager')
  const remoteVersions = new RemoteVersionManager({ ...common, verifier, find })
  const versions: VersionManager = localVersions ?? remoteVersions
  const { namespace } = localVersions ?? remoteVersions
  const services: AgentService[] = [
    serviceOf('managers', {
      start: async () => {
        if (has('providerManager')) {
          await serveProviders(node, { providers, repair: repairer, ...common })
        }
        if (localVersions === undefined || collector === undefined) return
        await localVersions.start()
        await serveVersion(node, {
          versions: localVersions,
          namespace: localVersions.namespace,
          collector,
          ...common
        })
      },
      stop: async () => {
        localProviders?.stop()
        await collector?.stop()
        await localVersions?.stop()
        await Promise.all([remoteVersions.stop(), remoteProviders.stop(), directory.stop()])
      }
    }),
    ...(repairer === undefined ? [] : [serviceOf('repair', repairer)]),
    ...composeCollectionTimer(foundation, collector)
  ]
  const collecting = collector ?? remoteVersions
  const repair: RepairOverview = repairer ?? remoteProviders
  const chunks = { providers, localProviders, directory, repair, reader, writer }
  return { ...chunks, versions, namespace, collector: collecting, services }
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
      leaseMs: config.versions.lease,
      publishesPaths: true
    }
  )
}

/** Images by path and version, for the fronts and the control API. */
export function composeRepository(
  { config, data, logger, metrics }: Foundation,
  { metadata, signer, verifier, readBuffers }: Storage,
  {
    versions,
    namespace,
    reader,
    writer,
    keptUploads
  }: Managers & { readonly keptUploads?: KeptUploads | undefined }
): Repository {
  const { replicas, chunkBytes, uploadBudgetBytes, lease } = config.storage
  return new Repository(
    {
      versions,
      namespace,
      metadata,
      writer,
      reader,
      signer,
      verifier,
      clock: systemClock,
      logger,
      metrics,
      readBuffers,
      keptUploads
    },
    {
      stagingFolder: data.file('staging'),
      uploadBudgetBytes,
      replicas,
      chunkBytes,
      leaseMs: lease
    }
  )
}

/** Reports this agent's store to the provider manager, if it is a provider. */
export function composeHeartbeat(
  { config, data, logger }: Foundation,
  { provider }: Storage,
  { providers }: Managers
): AgentService[] {
  if (provider === undefined) return []
  const log = logger.forComponent('blobswarm:agent:heartbeat')
  const components = { provider, memory: data, providers, clock: systemClock, log }
  const { zone } = config.cluster
  const options = { zone, intervalMs: config.providers.heartbeat, version: VERSION }
  return [new Heartbeat(components, options)]
}
