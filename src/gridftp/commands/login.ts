import { isLoopback } from '../address.ts'
import { isAnonymousName } from '../auth.ts'
import type { FtpUser } from '../dsi.ts'
import { type Reply, reply } from '../replies.ts'
import type { CommandContext } from '../types.ts'

/** Failed logins after which a session ends. */
const MAX_FAILED_LOGINS = 5

/** USER: says who; PASS decides. */
export function nameUser({ state }: CommandContext, argument: string): Reply {
  if (state.login.kind === 'loggedIn') return reply(503, 'You are already logged in.')
  state.login = { kind: 'named', name: argument }
  if (isAnonymousName(argument)) return reply(331, 'Anonymous login: any password will do.')
  return reply(331, 'Password required.')
}

/** Checks who it is when the throttle lets it; the fifth failure ends the session. */
export async function checkPassword(context: CommandContext, password: string): Promise<Reply> {
  const { services, state, peerHost, localHost, signal } = context
  if (state.login.kind === 'loggedIn') return reply(503, 'You are already logged in.')
  if (state.login.kind === 'nobody') return reply(503, 'Login with USER first.')
  const { name } = state.login
  const attempt = {
    name,
    password,
    address: peerHost,
    isLoopback: isLoopback(peerHost) && isLoopback(localHost)
  }
  const check = async (): Promise<FtpUser | undefined> => {
    const found = await services.authenticator.authenticate(attempt)
    services.recorder.loginEnded(name, peerHost, found !== undefined)
    return found
  }
  const user = await services.throttle.attempt({ address: peerHost, name }, check, signal)
  if (user !== undefined) {
    state.login = { kind: 'loggedIn', user, storage: services.openStorage(user) }
    return reply(230, `User ${user.name} logged in.`)
  }
  state.login = { kind: 'nobody' }
  state.failedLogins += 1
  if (state.failedLogins >= MAX_FAILED_LOGINS) return reply(421, 'Too many failed logins.')
  return reply(530, 'Login incorrect.')
}
