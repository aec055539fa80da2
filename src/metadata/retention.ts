import type { RetentionPolicy } from './namespace-types.ts'
import type { Version, VersionSummary } from './types.ts'

/** What the rule looks at. */
export type RetainedVersion = Pick<VersionSummary, 'version' | 'timeMs' | 'isPinned'>

/**
 * Which of the versions that can be read, oldest first, a policy does not keep. Pinned ones stay,
 * and so does the newest, whatever its age: a policy never makes a file disappear.
 */
export function versionsToRetire(
  policy: RetentionPolicy,
  versions: readonly RetainedVersion[],
  nowMs: number
): Version[] {
  const { last, youngerMs } = policy
  if (last === undefined && youngerMs === undefined) return []
  const keptLast = Math.max(1, last ?? 1)
  const keptSinceMs = youngerMs === undefined ? Number.POSITIVE_INFINITY : nowMs - youngerMs
  return versions
    .slice(0, Math.max(0, versions.length - keptLast))
    .filter(({ timeMs, isPinned }) => !isPinned && timeMs < keptSinceMs)
    .map(({ version }) => version)
}

/** @throws {RangeError} for a policy that nobody can mean. */
export function checkPolicy({ last, youngerMs }: RetentionPolicy): void {
  if (last !== undefined && !(Number.isSafeInteger(last) && last >= 1)) {
    throw new RangeError(`a policy that keeps the last ${last} versions`)
  }
  if (youngerMs !== undefined && !(Number.isSafeInteger(youngerMs) && youngerMs >= 1)) {
    throw new RangeError(`a policy that keeps versions younger than ${youngerMs} ms`)
  }
}
