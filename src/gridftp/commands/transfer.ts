import { sendFile } from '../download.ts'
import { CommandRefusedError } from '../errors.ts'
import type { Reply } from '../replies.ts'
import { pathOf } from '../session-state.ts'
import type { CommandContext } from '../types.ts'
import { receiveFile } from '../upload.ts'

/** STOR: replaces the file; after REST n it writes over what is there. */
export async function store(context: CommandContext, argument: string): Promise<Reply> {
  const path = pathOf(context.state, argument).shown
  const offset = context.state.restartOffset ?? 0
  const mode = offset === 0 ? 'replace' : 'patch'
  // Extended blocks carry absolute offsets after REST.
  const request = { verb: 'STOR', path, mode, streamOffset: offset, blockOffset: 0 } as const
  return await receiveFile(context, request)
}

/** APPE: writes behind the end of the file. */
export async function append(context: CommandContext, argument: string): Promise<Reply> {
  const path = pathOf(context.state, argument).shown
  const request = { verb: 'APPE', path, mode: 'append', streamOffset: 0, blockOffset: 0 } as const
  return await receiveFile(context, request)
}

/** ESTO A offset path: writes over the file from an offset on. @see GFD.020, ESTO */
export async function extendedStore(context: CommandContext, argument: string): Promise<Reply> {
  const match = /^A (\d{1,16}) (.+)$/i.exec(argument)
  const offset = safeInteger(match?.[1])
  if (match === null || offset === undefined) {
    throw new CommandRefusedError(501, 'Only ESTO A <offset> <path> is known.')
  }
  const path = pathOf(context.state, match[2] ?? '').shown
  const place = { streamOffset: offset, blockOffset: offset }
  return await receiveFile(context, { verb: 'ESTO', path, mode: 'patch', ...place })
}

/** RETR: the whole file, or from REST n on. */
export async function retrieve(context: CommandContext, argument: string): Promise<Reply> {
  const path = pathOf(context.state, argument).shown
  const offset = context.state.restartOffset ?? 0
  return await sendFile(context, { verb: 'RETR', path, offset, base: 0 })
}

/** ERET P offset length path: a range, numbered from 0 on the wire. @see GFD.020, ERET */
export async function extendedRetrieve(context: CommandContext, argument: string): Promise<Reply> {
  const match = /^P (\d{1,16}) (\d{1,16}) (.+)$/i.exec(argument)
  const offset = safeInteger(match?.[1])
  const length = safeInteger(match?.[2])
  if (match === null || offset === undefined || length === undefined) {
    throw new CommandRefusedError(501, 'Only ERET P <offset> <length> <path> is known.')
  }
  const path = pathOf(context.state, match[3] ?? '').shown
  return await sendFile(context, { verb: 'ERET', path, offset, length, base: offset })
}

function safeInteger(text: string | undefined): number | undefined {
  const value = Number(text)
  return Number.isSafeInteger(value) ? value : undefined
}
