import type { FileStatus } from '../dsi.ts'
import { formatMlst } from '../mlst.ts'
import { type Reply, replyWithLines } from '../replies.ts'
import { loggedIn, pathOf, type ResolvedPath } from '../session-state.ts'
import type { CommandContext } from '../types.ts'
import { walk } from '../walk.ts'
import { factView, machineLines, sendListing } from './listing.ts'
import { statusOf } from './namespace.ts'

/** Lines of one reply of MLSC; more of them go out as further replies before the last one. */
const LINES_PER_REPLY = 500

/** MLSC: what MLSD shows, over the control connection. A file is shown by itself. */
export async function controlList(context: CommandContext, argument: string): Promise<Reply> {
  const path = pathOf(context.state, argument || '.')
  const status = await statusOf(context, path)
  const title = `Contents of ${argument === '' ? path.shown : argument}`
  let lines: string[] = []
  for await (const line of linesOf(context, path, status)) {
    context.signal.throwIfAborted()
    if (lines.length === LINES_PER_REPLY) {
      await context.send(replyWithLines(150, title, lines))
      lines = []
    }
    lines.push(line)
  }
  return replyWithLines(250, title, lines)
}

/** MLSR: everything below a folder, with names from there on. A file is shown by itself. */
export async function recursiveList(context: CommandContext, argument: string): Promise<Reply> {
  const path = pathOf(context.state, argument || '.')
  const status = await statusOf(context, path)
  return await sendListing(context, 'MLSR', path, recursiveLines(context, path, status))
}

async function* linesOf(
  context: CommandContext,
  path: ResolvedPath,
  status: FileStatus
): AsyncGenerator<string> {
  if (status.type === 'file') yield formatMlst(status, status.name, factView(context))
  else yield* machineLines(context, path, status)
}

async function* recursiveLines(
  context: CommandContext,
  path: ResolvedPath,
  status: FileStatus
): AsyncGenerator<string> {
  const view = factView(context)
  if (status.type === 'file') {
    yield formatMlst(status, status.name, view)
    return
  }
  const { state, signal } = context
  yield formatMlst(status, '.', view, 'self')
  const { skipsListingErrors: skipsErrors, followsLinks } = state
  const options = { skipsErrors, followsLinks, signal }
  for await (const step of walk(loggedIn(state).storage, path.stored, options)) {
    if (step.kind !== 'leave') yield formatMlst(step.status, step.name, view)
  }
}
