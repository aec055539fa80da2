import { spawnSync } from 'node:child_process'

/** Tells whether this process may make network namespaces: as root, and not in every container. */
export function canMakeNamespaces(): boolean {
  return process.getuid?.() === 0 && spawnSync('unshare', ['--net', 'true']).status === 0
}
