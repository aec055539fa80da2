import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Mounts a file system in memory of a few MiB, to fill it up. @throws {Error} unless it may. */
export function mountTmpfs(folder: string, mib: number): void {
  mkdirSync(folder, { recursive: true })
  const mount = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${mib}m`, 'tmpfs', folder])
  if (mount.status !== 0) throw new Error(`mount ${folder}: ${mount.stderr?.toString() ?? ''}`)
}

/** Unmounts what `mountTmpfs` mounted, also while somebody uses it; harmless when there is nothing. */
export function unmountTmpfs(folder: string): void {
  spawnSync('umount', ['--lazy', folder])
}

/** Tells whether this process may mount: as root, and not in every container. */
export function canMountTmpfs(): boolean {
  if (process.getuid?.() !== 0) return false
  const folder = mkdtempSync(join(tmpdir(), 'blobswarm-mount-'))
  try {
    mountTmpfs(folder, 1)
    return true
  } catch {
    return false
  } finally {
    unmountTmpfs(folder)
    rmSync(folder, { recursive: true, force: true })
  }
}
