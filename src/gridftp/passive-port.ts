import { formatHostPort } from './address.ts'
import { type Reply, reply } from './replies.ts'
import type { CommandContext } from './types.ts'

/** Opens a port and says where, as PASV does: code 227, or 127 inside of a transfer. */
export async function openPassivePort(context: CommandContext, code: 227 | 127): Promise<Reply> {
  const port = await context.channel.listen()
  const address = formatHostPort({ host: context.channel.toldHost, port })
  return reply(code, `Entering Passive Mode (${address})`)
}

/** Opens a port and says which, as EPSV does: code 229, or 129 inside of a transfer. */
export async function openExtendedPort(context: CommandContext, code: 229 | 129): Promise<Reply> {
  const port = await context.channel.listen(context.localHost)
  return reply(code, `Entering Extended Passive Mode (|||${port}|)`)
}

/** Opens the port that PASV or EPSV has left to the transfer, and tells the client. */
export async function openDelayedPort(context: CommandContext): Promise<void> {
  switch (context.channel.delayed) {
    case 'PASV':
      await context.send(await openPassivePort(context, 127))
      break
    case 'EPSV':
      await context.send(await openExtendedPort(context, 129))
      break
    case undefined:
  }
}
