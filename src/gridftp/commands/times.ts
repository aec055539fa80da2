import { CommandRefusedError } from '../errors.ts'
import { formatTime, parseTime } from '../mlst.ts'
import { type Reply, reply } from '../replies.ts'
import { loggedIn, pathOf, verifyMayWrite } from '../session-state.ts'
import type { CommandContext } from '../types.ts'
import { statusOf } from './namespace.ts'

/** MFMT YYYYMMDDHHMMSS path: sets what listings show. @see draft-somers-ftp-mfxx §3 */
export async function setModificationTime(
  context: CommandContext,
  argument: string
): Promise<Reply> {
  const [, time = '', target = ''] = /^(\S+) (.+)$/s.exec(argument) ?? []
  const modifiedMs = parseTime(time)
  if (modifiedMs === undefined || target === '') {
    return reply(501, 'Syntax: MFMT <YYYYMMDDHHMMSS> <path>')
  }
  await setModified(context, target, modifiedMs)
  return reply(213, `Modify=${formatTime(modifiedMs)}; ${target}`)
}

/**
 * MDTM path, in UTC. Older clients set the time by `MDTM YYYYMMDDHHMMSS path`, which is what it means
 * unless there is a file of that whole name.
 *
 * @see RFC 3659 §3
 */
export async function modificationTime(context: CommandContext, argument: string): Promise<Reply> {
  const [, time = '', target = ''] = /^(\d{14}(?:\.\d{1,9})?) (.+)$/s.exec(argument) ?? []
  const modifiedMs = parseTime(time)
  if (modifiedMs !== undefined && !(await isThere(context, argument))) {
    verifyMayWrite(context.state)
    await setModified(context, target, modifiedMs)
    return reply(213, formatTime(modifiedMs))
  }
  const status = await statusOf(context, pathOf(context.state, argument))
  return reply(213, formatTime(status.modifiedMs))
}

/**
 * SITE UTIME, in both of its forms: `YYYYMMDDHHMM[SS] path`, and `path atime mtime ctime UTC` with
 * times of 14 digits, of which the second one counts.
 */
export async function setTimes(context: CommandContext, argument: string): Promise<Reply> {
  const timeFirst = /^(\d{12}|\d{14}) (.+)$/s.exec(argument)
  const pathFirst = /^(.+) \d{14} (\d{14}) \d{14} UTC$/is.exec(argument)
  const [time, target] =
    pathFirst === null ? [timeFirst?.[1], timeFirst?.[2]] : [pathFirst[2], pathFirst[1]]
  const modifiedMs = parseTime((time ?? '').padEnd(14, '0'))
  if (modifiedMs === undefined || target === undefined) {
    throw new CommandRefusedError(501, 'Syntax: SITE UTIME <YYYYMMDDHHMMSS> <path>')
  }
  await setModified(context, target, modifiedMs)
  return reply(250, 'OK.')
}

async function setModified(
  context: CommandContext,
  target: string,
  modifiedMs: number
): Promise<void> {
  const path = pathOf(context.state, target)
  await loggedIn(context.state).storage.setModified(path.stored, modifiedMs)
}

async function isThere({ state }: CommandContext, argument: string): Promise<boolean> {
  return (await loggedIn(state).storage.stat(pathOf(state, argument).stored)) !== undefined
}
