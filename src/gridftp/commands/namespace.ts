import type { FileStatus } from '../dsi.ts'
import { IsDirectoryError, NotDirectoryError, PathNotFoundError } from '../errors.ts'
import { quotePath, type Reply, reply } from '../replies.ts'
import { loggedIn, pathOf, type ResolvedPath } from '../session-state.ts'
import type { CommandContext } from '../types.ts'

/** PWD, XPWD. */
export function printDirectory({ state }: CommandContext): Reply {
  return reply(257, `${quotePath(state.directory)} is current directory.`)
}

/** CWD, XCWD. */
export async function changeDirectory(context: CommandContext, argument: string): Promise<Reply> {
  const path = pathOf(context.state, argument)
  const status = await statusOf(context, path)
  if (status.type !== 'directory') throw new NotDirectoryError(path.stored)
  context.state.directory = path.shown
  return reply(250, 'CWD command successful.')
}

/** CDUP, XCUP: stays where it is at the root. */
export async function changeToParent(context: CommandContext): Promise<Reply> {
  return await changeDirectory(context, '..')
}

/** MKD, XMKD. */
export async function makeDirectory({ state }: CommandContext, argument: string): Promise<Reply> {
  const path = pathOf(state, argument)
  await loggedIn(state).storage.makeDirectory(path.stored)
  return reply(257, `${quotePath(path.shown)} created.`)
}

/** RMD, XRMD. */
export async function removeDirectory({ state }: CommandContext, argument: string): Promise<Reply> {
  await loggedIn(state).storage.removeDirectory(pathOf(state, argument).stored)
  return reply(250, 'OK.')
}

/** DELE. */
export async function removeFile({ state }: CommandContext, argument: string): Promise<Reply> {
  await loggedIn(state).storage.removeFile(pathOf(state, argument).stored)
  return reply(250, 'OK.')
}

/** RNFR: remembers what RNTO, which must come next, moves. */
export async function renameFrom(context: CommandContext, argument: string): Promise<Reply> {
  const path = pathOf(context.state, argument)
  await statusOf(context, path)
  context.state.renameFrom = path.shown
  return reply(350, 'Ready for RNTO.')
}

/** RNTO. */
export async function renameTo({ state }: CommandContext, argument: string): Promise<Reply> {
  if (state.renameFrom === undefined) return reply(503, 'Give RNFR first.')
  const from = pathOf(state, state.renameFrom)
  await loggedIn(state).storage.rename(from.stored, pathOf(state, argument).stored)
  return reply(250, 'OK.')
}

/** SIZE: of files only. @see RFC 3659 §4 */
export async function size(context: CommandContext, argument: string): Promise<Reply> {
  const status = await fileStatusOf(context, pathOf(context.state, argument))
  return reply(213, String(status.bytes))
}

/** Status of something that must be there. @throws {PathNotFoundError} if it is not. */
export async function statusOf({ state }: CommandContext, path: ResolvedPath): Promise<FileStatus> {
  const status = await loggedIn(state).storage.stat(path.stored)
  if (status === undefined) throw new PathNotFoundError(path.stored)
  return status
}

async function fileStatusOf(context: CommandContext, path: ResolvedPath): Promise<FileStatus> {
  const status = await statusOf(context, path)
  if (status.type === 'directory') throw new IsDirectoryError(path.stored)
  return status
}
