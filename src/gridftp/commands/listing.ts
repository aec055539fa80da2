import { KIB } from '../../lib/bytes.ts'
import { SequentialBlocks } from '../block-sender.ts'
import { sendContent } from '../download.ts'
import type { FileStatus } from '../dsi.ts'
import { NotDirectoryError } from '../errors.ts'
import { type FactView, formatListLine, formatMlst } from '../mlst.ts'
import { parentPath } from '../path.ts'
import { type Reply, reply, replyWithLines } from '../replies.ts'
import { loggedIn, pathOf, type ResolvedPath } from '../session-state.ts'
import { Transfer } from '../transfer.ts'
import type { CommandContext } from '../types.ts'
import { statusOf } from './namespace.ts'

/** Most entries that STAT shows over the control connection. */
const MAX_STAT_ENTRIES = 1000

/** A listing goes out in pieces of about this size. */
const LISTING_PIECE_BYTES = 32 * KIB

/** LIST: lines for people, of a directory or one file. */
export async function list(context: CommandContext, argument: string): Promise<Reply> {
  const path = await listedPath(context, argument)
  const status = await statusOf(context, path)
  const { user } = loggedIn(context.state)
  const now = context.services.clock.now()
  const lines = mapEntries(entriesOf(context, path, status), (entry) =>
    formatListLine(entry, now, user.mayWrite)
  )
  return await sendListing(context, 'LIST', path, lines)
}

/** NLST: names only. */
export async function nameList(context: CommandContext, argument: string): Promise<Reply> {
  const path = await listedPath(context, argument)
  const status = await statusOf(context, path)
  const lines = mapEntries(entriesOf(context, path, status), ({ name }) => name)
  return await sendListing(context, 'NLST', path, lines)
}

/** MLSD: a directory's own line, its parent's, and its entries. @see RFC 3659 §7 */
export async function machineList(context: CommandContext, argument: string): Promise<Reply> {
  const path = pathOf(context.state, argument || '.')
  const status = await statusOf(context, path)
  if (status.type !== 'directory') throw new NotDirectoryError(path.stored)
  return await sendListing(context, 'MLSD', path, machineLines(context, path, status))
}

/** MLST: one entry over the control connection. @see RFC 3659 §7 */
export async function machineStatus(context: CommandContext, argument: string): Promise<Reply> {
  const path = pathOf(context.state, argument || '.')
  const status = await statusOf(context, path)
  const shown = argument === '' ? path.shown : argument
  return replyWithLines(250, `status of ${shown}`, [formatMlst(status, shown, factView(context))])
}

/** STAT: the session, the running transfer, or a listing over the control connection. */
export async function showStatus(context: CommandContext, argument: string): Promise<Reply> {
  if (context.transfer !== undefined) {
    const { request, bytes } = context.transfer
    return reply(213, `${request.verb} ${request.path}: ${bytes} bytes so far.`)
  }
  if (argument === '') return sessionStatus(context)
  const path = await listedPath(context, argument)
  const found = await statusOf(context, path)
  const { user } = loggedIn(context.state)
  const now = context.services.clock.now()
  const lines: string[] = []
  for await (const entry of entriesOf(context, path, found)) {
    if (lines.length === MAX_STAT_ENTRIES) {
      lines.push('… and more: use LIST or MLSD')
      break
    }
    lines.push(formatListLine(entry, now, user.mayWrite))
  }
  return replyWithLines(found.type === 'directory' ? 212 : 213, `status of ${path.shown}`, lines)
}

function sessionStatus({ state, peerHost }: CommandContext): Reply {
  const name = state.login.kind === 'loggedIn' ? `user ${state.login.user.name}` : 'not logged in'
  const settings = `TYPE ${state.type}, MODE ${state.mode}, parallelism ${state.parallelism}`
  const { bufferBytes } = state
  const buffers = bufferBytes === undefined ? [] : [`TCP buffers of ${bufferBytes} bytes asked for`]
  return replyWithLines(211, 'Status', [`client ${peerHost}`, name, settings, ...buffers])
}

/**
 * The path of a listing. `-la` and the like, which people give to LIST out of habit, are left out,
 * unless there is something with such a name.
 */
async function listedPath({ state }: CommandContext, argument: string): Promise<ResolvedPath> {
  const switches = /^(-[A-Za-z1]+(\s+|$))+/.exec(argument)?.[0] ?? ''
  if (switches !== '') {
    const named = pathOf(state, argument)
    if ((await loggedIn(state).storage.stat(named.stored)) !== undefined) return named
  }
  return pathOf(state, argument.slice(switches.length) || '.')
}

async function* entriesOf(
  { state }: CommandContext,
  path: ResolvedPath,
  found: FileStatus
): AsyncGenerator<FileStatus> {
  if (found.type === 'file') yield found
  else yield* loggedIn(state).storage.list(path.stored)
}

/** @yields a line for a folder itself, one for the folder above it, and one for each of its entries. */
export async function* machineLines(
  context: CommandContext,
  path: ResolvedPath,
  own: FileStatus
): AsyncGenerator<string> {
  const view = factView(context)
  yield formatMlst(own, '.', view, 'self')
  const above = await statusOf(context, pathOf(context.state, parentPath(path.shown)))
  yield formatMlst(above, '..', view, 'parent')
  for await (const entry of entriesOf(context, path, own)) yield formatMlst(entry, entry.name, view)
}

/** What the client wants to see of each entry, and what it may do. */
export function factView({ state }: CommandContext): FactView {
  return { facts: state.facts, mayWrite: loggedIn(state).user.mayWrite }
}

async function* mapEntries(
  entries: AsyncIterable<FileStatus>,
  format: (entry: FileStatus) => string
): AsyncGenerator<string> {
  for await (const entry of entries) yield format(entry)
}

/** Sends lines over the data connections of the session. */
export async function sendListing(
  context: CommandContext,
  verb: string,
  path: ResolvedPath,
  lines: AsyncIterable<string>
): Promise<Reply> {
  const request = { verb, path: path.shown, direction: 'download', isListing: true } as const
  return await Transfer.run(
    context,
    request,
    async (transfer) =>
      await sendContent(context, transfer, {
        stream: () => inPieces(lines),
        blocks: () => new SequentialBlocks(inPieces(lines))
      })
  )
}

/**
 * Lines end with CR LF exactly, in either type.
 *
 * @yields pieces of whole lines.
 */
async function* inPieces(lines: AsyncIterable<string>): AsyncGenerator<Uint8Array> {
  let piece = ''
  for await (const line of lines) {
    // Such a name cannot be made, but may be there from an earlier program.
    piece += `${line.replaceAll(/[\r\n]/g, '?')}\r\n`
    if (piece.length >= LISTING_PIECE_BYTES) {
      yield Buffer.from(piece)
      piece = ''
    }
  }
  if (piece !== '') yield Buffer.from(piece)
}
