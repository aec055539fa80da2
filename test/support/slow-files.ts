import { type FileLayer, systemFiles } from '../../src/lib/file-layer.ts'
import type { Random } from '../../src/lib/random.ts'
import { nextTurn } from '../../src/lib/turn.ts'

/** Files whose every change takes a few turns of the event loop, by chance. */
export function slowFiles(
  random: Random,
  { files = systemFiles, mostTurns = 6 }: { files?: FileLayer; mostTurns?: number } = {}
): FileLayer {
  const late = async <T>(work: () => Promise<T>): Promise<T> => {
    for (let turns = Math.floor(random() * (mostTurns + 1)); turns > 0; turns--) await nextTurn()
    return await work()
  }
  return {
    ...files,
    open: (path, flags) => late(() => files.open(path, flags)),
    close: (file) => files.close(file),
    write: (file, bytes, position) => late(() => files.write(file, bytes, position)),
    read: (file, bytes, position) => late(() => files.read(file, bytes, position)),
    fsync: (file) => late(() => files.fsync(file)),
    rename: (from, to) => late(() => files.rename(from, to)),
    unlink: (path) => late(() => files.unlink(path)),
    makeFolder: (path) => late(() => files.makeFolder(path)),
    list: (path) => late(() => files.list(path)),
    sizesOf: (paths) => late(() => files.sizesOf(paths))
  }
}
