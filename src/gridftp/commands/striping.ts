import { MAX_STRIPES } from '../../metadata/stripe-types.ts'
import {
  addressFamily,
  formatExtended,
  formatHostPort,
  isLoopback,
  parseExtended,
  parseHostPort,
  type SocketAddress
} from '../address.ts'
import { CommandRefusedError, DataChannelError } from '../errors.ts'
import { type Reply, reply, replyWithLines } from '../replies.ts'
import { accessOf } from '../striped-download.ts'
import { Stripes } from '../stripes.ts'
import type { CommandContext } from '../types.ts'
import { activePort, refuseAfterEpsvAll, singlePassive } from './data-connection.ts'

/**
 * SPAS [1|2]: one address for each data mover of the cluster; this agent's own where there is no
 * other. With 2 they are of the family that the client came with.
 *
 * @see GFD.020, SPAS
 */
export async function stripedPassive(context: CommandContext, argument: string): Promise<Reply> {
  refuseAfterEpsvAll(context)
  const wanted = argument.trim()
  if (wanted !== '' && wanted !== '1' && wanted !== '2') return reply(501, 'Not a protocol family.')
  const addresses = await listenAtMovers(context, wanted)
  if (addresses === undefined) return await singlePassive(context, wanted)
  const format = wanted === '' ? formatHostPort : formatExtended
  return replyWithLines(229, 'Entering Striped Passive Mode.', addresses.map(format), 'End')
}

/**
 * SPOR: one address for each stripe of the receiver, in the form of PORT or of EPRT, with a blank
 * between them.
 *
 * @see GFD.020, SPOR
 */
export function stripedPort(context: CommandContext, argument: string): Reply {
  refuseAfterEpsvAll(context)
  const words = argument.trim().split(/\s+/)
  const [only = ''] = words
  if (words.length > MAX_STRIPES) return reply(501, `At most ${MAX_STRIPES} addresses.`)
  if (words.length === 1 && parseHostPort(only) !== undefined) return activePort(context, only)
  const addresses = words.map(parseAddress)
  if (context.services.movers === undefined && words.length > 1) {
    return reply(504, 'No data movers here: give PORT.')
  }
  context.channel.connectToAll(addresses)
  return reply(200, 'SPOR Command successful.')
}

/** @returns undefined where this agent is the only data mover, or no other can be reached. */
async function listenAtMovers(
  context: CommandContext,
  wanted: string
): Promise<readonly SocketAddress[] | undefined> {
  const { movers, logger, settings } = context.services
  // A client that must come from its own address comes with that address' family.
  const ofClient = settings.allowsThirdParty ? undefined : addressFamily(context.peerHost)
  const family = wanted === '2' ? ofClient : 1
  if (movers === undefined || (ofClient === 2 && family === 1)) return undefined
  const found = movers.list()
  if (!found.some((mover) => mover !== movers.own)) return undefined
  const { stripes, answers } = await Stripes.open(
    found,
    async (session) => {
      const address = await session.listen(family, { signal: context.signal })
      verifyReachable(address, context)
      return address
    },
    { access: accessOf(context), logger, signal: context.signal }
  )
  if (stripes.count === 0) return undefined
  context.channel.useStripes(stripes)
  return answers
}

/** Loopback leads nowhere from elsewhere, and whoever came through it comes to others from elsewhere. */
function verifyReachable({ host }: SocketAddress, { peerHost, services }: CommandContext): void {
  const isInside = isLoopback(host)
  if (isInside === isLoopback(peerHost)) return
  if (!isInside && services.settings.allowsThirdParty) return
  throw new DataChannelError(425, `${host} is of no use to a client at ${peerHost}`)
}

function parseAddress(word: string): SocketAddress {
  const address = parseHostPort(word) ?? parseExtended(word)
  if (address === undefined) throw new CommandRefusedError(501, 'Illegal SPOR command.')
  if (address === 'unsupported') {
    throw new CommandRefusedError(522, 'Network protocol not supported, use (1,2).')
  }
  return address
}
