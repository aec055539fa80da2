import { type Reply, reply, replyWithLines } from '../replies.ts'
import { loggedIn, pathOf, verifyMayWrite } from '../session-state.ts'
import type { CommandContext, CommandHandler } from '../types.ts'
import { statusOf } from './namespace.ts'
import { bufferSize } from './parameters.ts'
import { setTimes } from './times.ts'
import { removeTree, truncate } from './whole-files.ts'

interface SiteCommand {
  readonly name: string
  /** What SITE HELP shows after the name; it has an argument unless this is empty. */
  readonly syntax: string
  /** Only for users who may change things. */
  readonly isWrite?: boolean
  readonly run: CommandHandler
}

/** Every name that clients have for SBUF. */
const BUFFER_COMMANDS = [
  'SBUF',
  'RETRBUFSIZE',
  'RBUFSZ',
  'RBUFSIZ',
  'STORBUFSIZE',
  'SBUFSZ',
  'SBUFSIZ',
  'BUFSIZE'
]

const COMMANDS: readonly SiteCommand[] = [
  { name: 'HELP', syntax: '', run: help },
  { name: 'CLIENTINFO', syntax: '<text>', run: clientInformation },
  { name: 'TASKID', syntax: '<text>', run: taskId },
  { name: 'WHOAMI', syntax: '', run: ({ state }) => reply(200, loggedIn(state).user.name) },
  { name: 'VERSION', syntax: '', run: () => reply(200, 'blobswarm GridFTP server') },
  ...BUFFER_COMMANDS.map((name) => ({ name, syntax: '<bytes>', run: bufferSize })),
  { name: 'UTIME', syntax: '<YYYYMMDDHHMMSS> <path>', isWrite: true, run: setTimes },
  { name: 'CHMOD', syntax: '<mode> <path>', isWrite: true, run: changeMode },
  { name: 'CHGRP', syntax: '<group> <path>', isWrite: true, run: changeGroup },
  { name: 'RDEL', syntax: '<path>', isWrite: true, run: removeTree },
  { name: 'TRNC', syntax: '<bytes> <path>', isWrite: true, run: truncate }
]

/** What is refused with a reason; clients try these without asking HELP first. */
const REFUSALS: ReadonlyMap<string, string> = new Map([
  ['SYMLINK', 'There are no symbolic links.'],
  ['SYMLINKFROM', 'There are no symbolic links.'],
  ['SYMLINKTO', 'There are no symbolic links.'],
  ['STORATTR', 'Files have no attributes that could be set.'],
  ['AUTHZ_ASSERT', 'Assertions are not used.'],
  ['SETNETSTACK', 'The network stack cannot be changed.'],
  ['SETDISKSTACK', 'The storage cannot be changed.']
])

/** SITE. */
export async function site(context: CommandContext, argument: string): Promise<Reply> {
  const [, word = '', rest = ''] = /^\s*(\S+) ?(.*)$/s.exec(argument) ?? []
  const name = word.toUpperCase()
  const refusal = REFUSALS.get(name)
  if (refusal !== undefined) return reply(504, refusal)
  const command = COMMANDS.find((candidate) => candidate.name === name)
  if (command === undefined) return reply(500, 'Unknown SITE command.')
  if (command.isWrite === true) verifyMayWrite(context.state)
  if (command.syntax !== '' && rest === '') {
    return reply(501, `Syntax: SITE ${name} ${command.syntax}`)
  }
  return await command.run(context, rest)
}

/** Clients look for names in the text: one that is there is used without trying. */
function help(): Reply {
  const lines = COMMANDS.map(({ name, syntax }) => `${name} ${syntax}`.trimEnd())
  return replyWithLines(214, 'SITE commands', lines)
}

function clientInformation({ services, peerHost }: CommandContext, text: string): Reply {
  services.logger.debug('client at %s says that it is %s', peerHost, text)
  return reply(250, 'OK.')
}

function taskId({ services, peerHost }: CommandContext, text: string): Reply {
  services.logger.debug('client at %s works on task %s', peerHost, text)
  return reply(250, 'OK.')
}

/**
 * CHMOD mode path: accepted without effect. Files have no modes here, but clients set them after every
 * upload (lftp mirror, UberFTP), and an error would make them take the upload for a failed one.
 */
async function changeMode(context: CommandContext, argument: string): Promise<Reply> {
  const target = /^[0-7]{1,4} (.+)$/s.exec(argument)?.[1]
  if (target === undefined) return reply(501, 'Syntax: SITE CHMOD <mode> <path>')
  await statusOf(context, pathOf(context.state, target))
  return reply(250, 'OK, but modes are not kept.')
}

/** CHGRP group path: accepted without effect, for the same reason. */
async function changeGroup(context: CommandContext, argument: string): Promise<Reply> {
  const target = /^\S+ (.+)$/s.exec(argument)?.[1]
  if (target === undefined) return reply(501, 'Syntax: SITE CHGRP <group> <path>')
  await statusOf(context, pathOf(context.state, target))
  return reply(250, 'OK, but groups are not kept.')
}
