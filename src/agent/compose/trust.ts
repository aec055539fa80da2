import { systemClock } from '../../lib/clock.ts'
import { systemRandom } from '../../lib/random.ts'
import { CertificateRenewal } from '../../peer/certificate-renewal.ts'
import type { AgentService } from '../agent.ts'
import { ClusterControl } from '../cluster-control.ts'
import { admitItself } from '../membership.ts'
import { MetadataListKeeper } from '../metadata-list.ts'
import { RevocationKeeper } from '../revocations.ts'
import type { Foundation } from './foundation.ts'
import { serviceOf } from './service.ts'

/** What keeps this agent a member and tells members from others: lists, renewal, and their operators. */
export function composeTrust({ config, data, node, authority, logger }: Foundation) {
  const clock = systemClock
  const logOf = (name: string) => logger.forComponent(`blobswarm:agent:${name}`)
  const keeper = new MetadataListKeeper(
    { data, node, authority: authority?.authority, clock, log: logOf('metadata-list') },
    { deadAfterMs: config.metadata.deadAfter }
  )
  const revocations = new RevocationKeeper({
    data,
    node,
    revoker: authority?.revoker,
    log: logOf('revocations')
  })
  const { roles } = config.agent
  const renewal = new CertificateRenewal({
    membership: node.membership,
    renew: async (options) => {
      if (authority !== undefined) return admitItself(authority, node.peerId, roles)
      return node.renew((await data.cluster())?.bootstrap ?? [], options)
    },
    save: async ({ certificate }) => data.writeCertificate(certificate),
    clock,
    random: systemRandom,
    log: logOf('certificate')
  })
  const services: AgentService[] = [
    serviceOf('metadata list', keeper),
    serviceOf('revocations', revocations),
    serviceOf('certificate', renewal)
  ]
  return { cluster: new ClusterControl({ node, authority, clock }), services }
}
