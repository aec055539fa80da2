import { formatFactList, parseFacts } from '../mlst.ts'
import { type Reply, reply, replyWithLines } from '../replies.ts'
import type { CommandContext, TransferMode } from '../types.ts'

/**
 * TYPE. Both types move the bytes as they are: an image has no lines to convert.
 *
 * @see RFC 959 §3.1.1
 */
export function type({ state }: CommandContext, argument: string): Reply {
  switch (argument.trim().toUpperCase()) {
    case 'I':
    case 'L 8':
      state.type = 'I'
      return reply(200, 'Type set to I.')
    case 'A':
    case 'A N':
      state.type = 'A'
      return reply(200, 'Type set to A.')
    default:
      return reply(504, 'Type must be I or A.')
  }
}

/** MODE. A change drops cached data connections, whose peer would read them in the other mode. */
export function mode({ state, channel }: CommandContext, argument: string): Reply {
  const wanted = argument.trim().toUpperCase()
  if (wanted !== 'S' && wanted !== 'E') return reply(504, 'Mode must be S or E.')
  const next: TransferMode = wanted
  if (next !== state.mode) channel.dropUsed()
  state.mode = next
  return reply(200, `Mode set to ${next}.`)
}

/** STRU: files have no structure here. */
export function structure(_context: CommandContext, argument: string): Reply {
  if (argument.trim().toUpperCase() !== 'F') return reply(504, 'Structure must be F.')
  return reply(200, 'STRU F ok.')
}

/** ALLO n [R m]: the size of the next upload. */
export function allocate({ state }: CommandContext, argument: string): Reply {
  const match = /^\s*(\d{1,16})(?:\s+R\s+\d+)?\s*$/i.exec(argument)
  const bytes = Number(match?.[1])
  if (!Number.isSafeInteger(bytes)) return reply(501, 'Not a number of bytes.')
  state.announcedBytes = bytes
  return reply(200, 'ALLO command successful.')
}

/** REST n. Restart by ranges belongs to restart markers, which are not sent. @see RFC 3659 §5 */
export function restart({ state }: CommandContext, argument: string): Reply {
  const offset = /^\d{1,16}$/.test(argument.trim()) ? Number(argument.trim()) : Number.NaN
  if (!Number.isSafeInteger(offset)) return reply(501, 'Not an offset in bytes.')
  state.restartOffset = offset
  return reply(350, `Restart at ${offset}. Send STOR or RETR to initiate transfer.`)
}

/** OPTS. What is refused is what we would not do. @see RFC 2389 §4 */
export function options(context: CommandContext, argument: string): Reply {
  const space = argument.indexOf(' ')
  const subject = space === -1 ? argument : argument.slice(0, space)
  const value = space === -1 ? '' : argument.slice(space + 1).trim()
  switch (subject.toUpperCase()) {
    case 'RETR':
      return retrieveOptions(context, value)
    case 'MLST':
      context.state.facts = parseFacts(value)
      return reply(200, `MLST OPTS ${factNames(context)}`.trimEnd())
    case 'UTF8':
      if (/^(on)?$/i.test(value)) return reply(200, 'UTF-8 is always on.')
      return reply(504, 'UTF-8 cannot be switched off.')
    case 'PASV':
      if (/^AllowDelayed=0;?$/i.test(value)) return reply(200, 'OPTS Command Successful.')
      return reply(501, 'PASV is never delayed.')
    default:
      return reply(501, 'No options for that.')
  }
}

/** `Parallelism=n,n,n;StripeLayout=…;BlockSize=n;`. With one stripe every layout is the same. */
function retrieveOptions({ state, services }: CommandContext, value: string): Reply {
  let parallelism = state.parallelism
  for (const option of value.split(';').filter((text) => text.trim() !== '')) {
    const [name = '', setting = ''] = option.trim().split('=')
    switch (name.toLowerCase()) {
      case 'parallelism': {
        parallelism = parseParallelism(setting)
        break
      }
      case 'stripelayout':
        if (!/^(partitioned|blocked)$/i.test(setting)) return reply(501, 'Unknown stripe layout.')
        break
      case 'blocksize':
        if (!/^\d{1,15}$/.test(setting)) return reply(501, 'Block size is not a number.')
        break
      default:
        return reply(501, 'Unknown option of RETR.')
    }
  }
  if (!(parallelism >= 1)) return reply(501, 'Parallelism must be 1 or more.')
  state.parallelism = Math.min(parallelism, services.settings.maxDataSockets)
  return reply(200, 'OPTS Command Successful.')
}

/** `starting,minimum,maximum`: the first number counts. */
function parseParallelism(setting: string): number {
  return /^\d{1,6}(,\d{1,6}){0,2}$/.test(setting) ? Number(setting.split(',')[0]) : Number.NaN
}

function factNames({ state }: CommandContext): string {
  return formatFactList(state.facts)
    .split(';')
    .filter((fact) => fact.endsWith('*'))
    .map((fact) => `${fact.slice(0, -1)};`)
    .join('')
}

/** LANG. @see RFC 2640 §4.1 */
export function language(_context: CommandContext, argument: string): Reply {
  const isEnglish = /^(en(-\w+)?)?$/i.test(argument.trim())
  return isEnglish ? reply(200, 'Language is EN.') : reply(504, 'Only EN is spoken.')
}

const BUFFER_COMMANDS = [
  'RETRBUFSIZE',
  'RBUFSZ',
  'RBUFSIZ',
  'STORBUFSIZE',
  'SBUFSZ',
  'SBUFSIZ',
  'BUFSIZE'
]

/** SITE. Buffer sizes are taken and left to the kernel, which sizes its buffers itself. */
export function site({ services }: CommandContext, argument: string): Reply {
  const [name = '', value = ''] = argument.trim().split(' ', 2)
  const command = name.toUpperCase()
  if (command === 'HELP') {
    const lines = ['HELP', 'CLIENTINFO', ...BUFFER_COMMANDS]
    return replyWithLines(214, 'SITE commands', lines)
  }
  if (command === 'CLIENTINFO') {
    services.logger.debug('client says that it is %s', argument.trim().slice(name.length + 1))
    return reply(250, 'OK.')
  }
  if (BUFFER_COMMANDS.includes(command)) {
    if (!/^\d{1,12}$/.test(value)) return reply(501, 'Not a number of bytes.')
    return reply(200, 'Buffers are sized by the kernel.')
  }
  return reply(500, 'Unknown SITE command.')
}

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

/** ABOR, once nothing runs any more: the transfer itself was answered with 426 before. */
export function abort({ channel }: CommandContext): Reply {
  channel.close()
  return reply(226, 'Abort successful.')
}
