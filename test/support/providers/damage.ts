import { open, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'

const WINDOW_BYTES = 4 * 1024 * 1024

/**
 * Turns over one byte of some content in the files below a folder, wherever and in whatever form of file it lies.
 *
 * @param content at least 32 bytes that are nowhere else.
 * @returns whether it was found.
 */
export async function damage(folder: string, content: Uint8Array): Promise<boolean> {
  const mark = content.subarray(0, 32)
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    const at = await find(path, mark)
    if (at === undefined) continue
    await turnOver(path, at)
    return true
  }
  return false
}

async function turnOver(path: string, at: number): Promise<void> {
  const file = await open(path, 'r+')
  try {
    const byte = new Uint8Array(1)
    await file.read(byte, 0, 1, at)
    await file.write(Uint8Array.of((byte[0] ?? 0) ^ 0xff), 0, 1, at)
    await file.sync()
  } finally {
    await file.close()
  }
}

async function find(path: string, mark: Uint8Array): Promise<number | undefined> {
  const { size } = await stat(path)
  const file = await open(path, 'r')
  try {
    const window = Buffer.alloc(Math.min(size, WINDOW_BYTES))
    for (let from = 0; from < size; from += WINDOW_BYTES - mark.byteLength) {
      const { bytesRead } = await file.read(window, 0, window.byteLength, from)
      const at = window.subarray(0, bytesRead).indexOf(mark)
      if (at >= 0) return from + at
    }
    return undefined
  } finally {
    await file.close()
  }
}
