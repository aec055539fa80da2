import { firstOf, LoopbackAnonymous, UsersFile } from '../../gridftp/auth.ts'
import { BlobDsi } from '../../gridftp/blob-dsi.ts'
import { Quotas } from '../../gridftp/quotas.ts'
import { GridFtpServer } from '../../gridftp/server.ts'
import { toHex } from '../../lib/bytes.ts'
import { systemClock } from '../../lib/clock.ts'
import { secureBytes, systemRandom } from '../../lib/random.ts'
import type { Repository } from '../../metadata/repository.ts'
import type { Agent, AgentService } from '../agent.ts'
import type { AgentControl } from '../agent-control.ts'
import { controlListener } from '../control-api.ts'
import type { DataDirectory } from '../data-directory.ts'
import { ListenError } from '../errors.ts'
import { formatHostPort, parseHostPort } from '../host-port.ts'
import { HttpStatusServer } from '../http-status.ts'
import type { Foundation } from './foundation.ts'
import type { Movers } from './movers.ts'
import { serviceOf } from './service.ts'

/** What the services show the outside. */
export interface Outward {
  readonly socket: string
  readonly addresses: { gridftp?: () => string; http?: () => string }
  readonly agent: () => Agent
}

/** The GridFTP server, if this agent has the role. */
export function composeGridFtp(
  { config, logger, metrics }: Foundation,
  { repository, movers }: { readonly repository: Repository; readonly movers: Movers['front'] },
  { addresses }: Outward
): AgentService[] {
  const { listen, anonymous, users, advertisedAddress, dataAddress, ...limits } = config.gridftp
  if (!config.agent.roles.includes('gridftp') || listen === '') return []
  const authenticators = [
    ...(anonymous === 'loopback' ? [new LoopbackAnonymous()] : []),
    ...(users === '' ? [] : [new UsersFile(users)])
  ]
  const quotas = new Quotas(async (root) => (await repository.usage(root)).bytes)
  const server = new GridFtpServer(
    {
      openStorage: (user) => new BlobDsi(repository, user, quotas),
      authenticator: firstOf(authenticators),
      clock: systemClock,
      random: systemRandom,
      logger,
      metrics,
      movers
    },
    {
      ...parseHostPort(listen),
      passivePorts: limits.passivePorts,
      advertisedAddress: advertisedAddress === '' ? undefined : advertisedAddress,
      dataAddress: dataAddress === '' ? undefined : dataAddress,
      maxDataSockets: limits.maxDataConnections,
      loginDelayMs: limits.loginDelay,
      maxSessions: limits.maxSessions,
      maxSessionsPerAddress: limits.maxSessionsPerAddress,
      queueBytes: limits.queueBytes,
      queueDepth: limits.queueDepth,
      idleTimeoutMs: limits.idleTimeout,
      loginTimeoutMs: limits.loginTimeout,
      markerIntervalMs: limits.markerInterval,
      allowsThirdParty: limits.thirdParty === 'allow',
      dataTimeoutMs: limits.dataTimeout
    }
  )
  const start = async (): Promise<void> => {
    try {
      const { host, port } = await server.start()
      addresses.gridftp = () => formatHostPort({ address: host, port })
    } catch (error) {
      throw new ListenError('GridFTP', listen, { cause: error })
    }
  }
  return [serviceOf('gridftp', { start, stop: async () => server.stop() })]
}

/** Status and metrics over HTTP, if there is an address for it. */
export function composeHttp(
  { config, data, logger, metrics }: Foundation,
  control: AgentControl,
  { addresses, agent }: Outward
): AgentService[] {
  const { listen } = config.http
  if (listen === '') return []
  let server: HttpStatusServer | undefined
  const start = async (): Promise<void> => {
    const bearer = await httpToken(data)
    const http = new HttpStatusServer(
      {
        metrics,
        notReady: () => agent().notReady,
        control: controlListener(control, logger, bearer)
      },
      listen
    )
    await http.start()
    server = http
    addresses.http = () => http.address
  }
  return [serviceOf('http', { start, stop: async () => server?.stop() })]
}

async function httpToken(data: DataDirectory): Promise<string> {
  const saved = (await data.readText('http.token'))?.trim()
  if (saved !== undefined && saved !== '') return saved
  const token = toHex(secureBytes(32))
  await data.writeText('http.token', `${token}\n`)
  return token
}
