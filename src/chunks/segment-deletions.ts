import { type FileLayer, writeFully } from '../lib/file-layer.ts'
import { GroupCommit } from '../lib/group-commit.ts'
import { isFullDisk } from './disk-errors.ts'
import type { Segment } from './segment.ts'
import { encodeDeadHeader, encodeDeletions } from './segment-format.ts'

interface Deletion {
  readonly segment: Segment
  readonly offset: number
}

/**
 * Notes which records are deleted, so that a start does not find them. Not flushed: after a power
 * cut a chunk may be there again, which is no harm.
 */
export class SegmentDeletions {
  readonly #files: FileLayer
  readonly #writes: GroupCommit<Deletion>

  constructor(files: FileLayer) {
    this.#files = files
    this.#writes = new GroupCommit((deletions) => this.#write(deletions))
  }

  /** Resolves when the deletion is written. On a full disk it is left out. */
  async add(segment: Segment, offset: number): Promise<void> {
    await this.#writes.add({ segment, offset })
  }

  async #write(deletions: readonly Deletion[]): Promise<void> {
    const bySegment = Map.groupBy(deletions, ({ segment }) => segment)
    for (const [segment, group] of bySegment) {
      if (isRemoved(segment)) continue
      const offsets = group.map(({ offset }) => offset)
      try {
        await this.#append(segment, offsets)
      } catch (error) {
        // A full disk must not keep chunks from being deleted, and what is gone needs no note.
        if (!isFullDisk(error) && !isRemoved(segment)) throw error
      }
    }
  }

  async #append(segment: Segment, offsets: readonly number[]): Promise<void> {
    const { nonce, paths, deadEndBytes } = segment
    const isNew = deadEndBytes === 0
    const deletions = encodeDeletions(nonce, offsets)
    const bytes = isNew ? Buffer.concat([encodeDeadHeader(nonce), deletions]) : deletions
    const file = await this.#files.open(paths.dead, isNew ? 'w' : 'r+')
    try {
      await writeFully(this.#files, file, bytes, deadEndBytes)
      segment.deadEndBytes += bytes.byteLength
    } finally {
      await this.#files.close(file)
    }
  }
}

function isRemoved({ state }: Segment): boolean {
  return state === 'removed'
}
