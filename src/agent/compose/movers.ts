import { networkInterfaces } from 'node:os'
import { LocalMover } from '../../gridftp/local-mover.ts'
import type { FrontMovers } from '../../gridftp/types.ts'
import { systemClock } from '../../lib/clock.ts'
import { systemRandom } from '../../lib/random.ts'
import type { Repository } from '../../metadata/repository.ts'
import { serveMover } from '../../peer/protocols/mover-serve.ts'
import { MoverFinder } from '../../peer/remote/mover-finder.ts'
import type { ImageDirectory } from '../../peer/types.ts'
import type { AgentService } from '../agent.ts'
import type { AgentConfig } from '../config.ts'
import { parseHostPort } from '../host-port.ts'
import type { Foundation } from './foundation.ts'
import { serviceOf } from './service.ts'

/** The data movers that this agent's front uses, if it has one. */
export interface Movers {
  readonly front: FrontMovers | undefined
  readonly services: AgentService[]
}

/** This agent as a data mover, and how it finds others, if it has the role gridftp. */
export function composeMovers(
  { config, node, logger, metrics }: Foundation,
  storage: Repository,
  directory: ImageDirectory
): Movers {
  if (!config.agent.roles.includes('gridftp')) return { front: undefined, services: [] }
  const { mover: isMover, maxStripes, listen, queueBytes, queueDepth } = config.gridftp
  const { passivePorts, maxDataConnections } = config.gridftp
  const own = new LocalMover(
    node.peerId,
    { storage, clock: systemClock, random: systemRandom, logger, metrics },
    {
      ...dataHosts(config.gridftp),
      passivePorts,
      maxSockets: maxDataConnections,
      queueBytes,
      queueDepth
    }
  )
  const common = { clock: systemClock, logger }
  const finder = new MoverFinder(
    { node, directory, ...common },
    { isMover, isFront: listen !== '', maxMovers: maxStripes }
  )
  const list = () => [...(isMover ? [own] : []), ...finder.list()].slice(0, maxStripes)
  const start = async (): Promise<void> => {
    if (isMover) await serveMover(node, { mover: own, ...common })
    await finder.start()
  }
  const stop = async (): Promise<void> => {
    await finder.stop()
    await own.stop()
  }
  const services = [serviceOf('data mover', { start, stop })]
  return { front: { own, list }, services }
}

/** Where this agent's stripes listen, and what clients are told instead. */
function dataHosts({
  listen,
  dataAddress,
  advertisedAddress
}: Pick<AgentConfig['gridftp'], 'listen' | 'dataAddress' | 'advertisedAddress'>) {
  const listenHost = listen === '' ? '127.0.0.1' : parseHostPort(listen).host
  const bound = dataAddress === '' ? listenHost : dataAddress
  const isAny = bound === '0.0.0.0' || bound === '::'
  const host = isAny ? firstAddress(bound === '::' ? 'IPv6' : 'IPv4') : bound
  const isName = host === 'localhost'
  return {
    host: isName ? '127.0.0.1' : host,
    advertisedHost: advertisedAddress === '' ? undefined : advertisedAddress
  }
}

/** This machine's first address that others can reach; loopback if it has none. */
function firstAddress(family: 'IPv4' | 'IPv6'): string {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
  const outer = all.find(
    (address) =>
      address.family === family && !address.internal && !address.address.startsWith('fe80')
  )
  return outer?.address ?? (family === 'IPv4' ? '127.0.0.1' : '::1')
}
