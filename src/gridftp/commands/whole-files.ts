import { exactly } from '../block-sender.ts'
import type { DataStorageInterface, ReadHandle } from '../dsi.ts'
import { PathNotFoundError } from '../errors.ts'
import { type Reply, reply } from '../replies.ts'
import { loggedIn, pathOf } from '../session-state.ts'
import type { CommandContext } from '../types.ts'
import { walk } from '../walk.ts'
import { statusOf } from './namespace.ts'

/**
 * SITE RDEL path: removes a file, or a folder with everything below it. ABOR ends it in between; what
 * was removed by then stays so.
 */
export async function removeTree(context: CommandContext, argument: string): Promise<Reply> {
  const { services, signal, state } = context
  const { storage, user } = loggedIn(state)
  const path = pathOf(state, argument)
  const status = await statusOf(context, path)
  let count = 0
  if (status.type === 'file') await storage.removeFile(path.stored)
  else {
    for await (const { kind, name } of walk(storage, path.stored, { signal })) {
      const entry = path.stored === '/' ? `/${name}` : `${path.stored}/${name}`
      const isLeaf = kind === 'file' || kind === 'link'
      if (isLeaf) await unlessGone(async () => await storage.removeFile(entry))
      if (kind === 'leave') await unlessGone(async () => await storage.removeDirectory(entry))
      if (kind !== 'enter') count += 1
    }
    // The user's own root stays: there would be nothing to stand on.
    if (path.shown !== '/') await storage.removeDirectory(path.stored)
  }
  services.logger.info('%s removed %s and %d entries below it', user.name, path.stored, count)
  return reply(250, 'OK.')
}

/**
 * SITE TRNC n path: cuts a file to n bytes, or fills it up with zeros, as a new version. The bytes that
 * stay are written again, which stores none of them anew where the storage knows them already.
 */
export async function truncate(context: CommandContext, argument: string): Promise<Reply> {
  const match = /^(\d{1,15}) (.+)$/s.exec(argument)
  if (match === null) return reply(501, 'Syntax: SITE TRNC <bytes> <path>')
  const bytes = Number(match[1])
  const path = pathOf(context.state, match[2] ?? '').stored
  const { storage } = loggedIn(context.state)
  const source = await storage.openRead(path)
  try {
    if (bytes > source.bytes) await extend(storage, path, bytes)
    if (bytes < source.bytes) await cut(context, { path, source, bytes })
  } finally {
    await source.close()
  }
  return reply(250, 'OK.')
}

async function extend(storage: DataStorageInterface, path: string, bytes: number): Promise<void> {
  const handle = await storage.openWrite(path, { mode: 'patch' })
  try {
    await handle.write(bytes - 1, new Uint8Array(1))
    await handle.publish()
  } finally {
    await handle.abort()
  }
}

async function cut(
  { state, signal }: CommandContext,
  { path, source, bytes }: { path: string; source: ReadHandle; bytes: number }
): Promise<void> {
  const { storage } = loggedIn(state)
  const handle = await storage.openWrite(path, { mode: 'replace', expectedBytes: bytes, signal })
  try {
    let offset = 0
    for await (const piece of exactly(source.read({ offset, length: bytes }, { signal }), bytes)) {
      signal.throwIfAborted()
      const { byteLength } = piece
      await handle.write(offset, piece, { signal })
      offset += byteLength
    }
    await handle.publish({ signal })
  } finally {
    await handle.abort()
  }
}

async function unlessGone(remove: () => Promise<void>): Promise<void> {
  try {
    await remove()
  } catch (error) {
    if (!(error instanceof PathNotFoundError)) throw error
  }
}
