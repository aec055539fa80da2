import {
  addressFamily,
  formatExtended,
  formatHostPort,
  parseExtended,
  parseHostPort,
  type SocketAddress
} from '../address.ts'
import type { PassiveVerb } from '../data-endpoint.ts'
import { CommandRefusedError } from '../errors.ts'
import { openExtendedPort, openPassivePort } from '../passive-port.ts'
import { type Reply, reply, replyWithLines } from '../replies.ts'
import type { CommandContext } from '../types.ts'

/** PASV. */
export async function passive(context: CommandContext): Promise<Reply> {
  refuseAfterEpsvAll(context)
  if (addressFamily(context.channel.toldHost) !== 1) {
    context.channel.close()
    return reply(425, 'PASV needs IPv4: use EPSV.')
  }
  if (context.state.isPassiveDelayed) return delay(context, 'PASV')
  return await openPassivePort(context, 227)
}

/** EPSV [1|2|ALL]. @see RFC 2428 §3 */
export async function extendedPassive(context: CommandContext, argument: string): Promise<Reply> {
  const wanted = argument.trim().toUpperCase()
  if (wanted === 'ALL') {
    context.state.isEpsvOnly = true
    return reply(200, 'EPSV ALL ok.')
  }
  const family = addressFamily(context.localHost)
  if (wanted !== '' && wanted !== String(family)) return unsupportedFamily(family)
  if (context.state.isPassiveDelayed) return delay(context, 'EPSV')
  return await openExtendedPort(context, 229)
}

/** Answers SPAS with the port of this agent, as the only stripe. `wanted` is a family or nothing. */
export async function singlePassive(context: CommandContext, wanted: string): Promise<Reply> {
  const family = addressFamily(context.localHost)
  if (wanted === '1' && family === 2) return unsupportedFamily(family)
  if (wanted === '' && family === 2) return reply(425, 'SPAS needs IPv4: use SPAS 2.')
  const address = await listen(context)
  const line = wanted === '' ? formatHostPort(address) : formatExtended(address)
  return replyWithLines(229, 'Entering Striped Passive Mode.', [line], 'End')
}

/** PORT h1,h2,h3,h4,p1,p2. */
export function activePort(context: CommandContext, argument: string): Reply {
  refuseAfterEpsvAll(context)
  const address = parseHostPort(argument)
  if (address === undefined) return reply(501, 'Illegal PORT command.')
  context.channel.connectTo(address)
  return reply(200, 'PORT Command successful.')
}

/** EPRT |family|address|port|. @see RFC 2428 §2 */
export function extendedPort(context: CommandContext, argument: string): Reply {
  refuseAfterEpsvAll(context)
  const address = parseExtended(argument)
  if (address === undefined) return reply(501, 'Malformed argument.')
  const family = addressFamily(context.localHost)
  if (address === 'unsupported') return unsupportedFamily(family)
  if (addressFamily(address.host) !== family) return unsupportedFamily(family)
  context.channel.connectTo(address)
  return reply(200, 'EPRT Command successful.')
}

async function listen(context: CommandContext): Promise<SocketAddress> {
  const port = await context.channel.listen()
  return { host: context.channel.toldHost, port }
}

/** OPTS PASV AllowDelayed: the transfer opens the port and tells it. */
function delay(context: CommandContext, verb: PassiveVerb): Reply {
  context.channel.delay(verb)
  return reply(200, 'Passive delayed.')
}

function unsupportedFamily(family: 1 | 2): Reply {
  return reply(522, `Network protocol not supported, use (${family}).`)
}

/** @throws {CommandRefusedError} if EPSV ALL was given. @see RFC 2428 §4 */
export function refuseAfterEpsvAll({ state }: CommandContext): void {
  if (state.isEpsvOnly) throw new CommandRefusedError(501, 'EPSV ALL was given: only EPSV will do.')
}
