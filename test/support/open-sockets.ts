import { readdirSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'

const DESCRIPTORS = '/proc/self/fd'

/** Sockets that this process has open, listening ones among them. */
export function openSockets(): string[] {
  return readdirSync(DESCRIPTORS).flatMap((name) => {
    const target = targetOf(join(DESCRIPTORS, name))
    return target.startsWith('socket:') ? [target] : []
  })
}

/** Resolves when only these are open: what is closed is gone some turns of the event loop later. */
export async function untilOnlyOpen(known: readonly string[], turns = 2000): Promise<void> {
  for (let turn = 0; ; turn += 1) {
    const more = openSockets().filter((socket) => !known.includes(socket))
    if (more.length === 0) return
    if (turn === turns) throw new Error(`${more.length} sockets are still open`)
    await new Promise(setImmediate)
  }
}

/** A descriptor may be closed while it is looked at. */
function targetOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}
