import { type Reply, reply } from '../replies.ts'
import { newSessionState } from '../session-state.ts'
import type { CommandContext } from '../types.ts'

/** SYST: what clients take for "listings look like ls -l". */
export function system(): Reply {
  return reply(215, 'UNIX Type: L8')
}

/** NOOP: keeps the session from its idle limit. */
export function noop(): Reply {
  return reply(200, 'OK.')
}

/** QUIT: the session ends after this reply. */
export function quit(): Reply {
  return reply(221, 'Goodbye.')
}

/** REIN: as after connecting; only failed logins are not forgotten. @see RFC 959 §4.1.1 */
export function reinitialize({ state, channel }: CommandContext): Reply {
  channel.close()
  Object.assign(state, { ...newSessionState(), failedLogins: state.failedLogins })
  return reply(220, 'Service ready for new user.')
}

/** ABOR, once nothing runs any more: the transfer itself was answered with 426 before. */
export function abort({ channel }: CommandContext): Reply {
  channel.close()
  return reply(226, 'Abort successful.')
}

/** LANG. @see RFC 2640 §4.1 */
export function language(_context: CommandContext, argument: string): Reply {
  const isEnglish = /^(en(-\w+)?)?$/i.test(argument.trim())
  return isEnglish ? reply(200, 'Language is EN.') : reply(504, 'Only EN is spoken.')
}

/** ACCT: nobody needs one. */
export function account(): Reply {
  return reply(202, 'Accounts are not used.')
}

/** CLNT: which program the client is. */
export function client({ services, peerHost }: CommandContext, argument: string): Reply {
  services.logger.debug('client at %s says that it is %s', peerHost, argument.trim())
  return reply(200, 'OK.')
}

/** HOST name: whatever name a client has for us, it is the same server. @see RFC 7151 §3 */
export function host({ state }: CommandContext, argument: string): Reply {
  if (state.login.kind !== 'nobody') return reply(503, 'HOST comes before USER.')
  const isName = /^([A-Za-z0-9][A-Za-z0-9.-]{0,254}|\[[0-9A-Fa-f:.]{2,45}\])$/.test(argument.trim())
  if (!isName) return reply(501, 'Not a host name.')
  return reply(220, 'Host accepted.')
}
