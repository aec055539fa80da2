/**
 * Reads the newest version of a path again and again while others write it, by manifest and by tree,
 * and compares it with the replay of its history; ends with 1 at the first byte that differs. After
 * SIGTERM it reads every version once more and prints `read COUNT`. Run by
 * concurrent-writers.system.test.ts: node reader-process.ts DATA_DIR TOKEN PATH
 */

import { chunkKey } from '../../../src/chunks/chunk-id.ts'
import { equalBytes, MIB } from '../../../src/lib/bytes.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { errorCode } from '../../../src/lib/errors.ts'
import { LruCache } from '../../../src/lib/lru-cache.ts'
import type { VersionSummary } from '../../../src/metadata/types.ts'
import { readByManifest, readByTree } from '../version-reads.ts'
import { BlobReplay } from './blob-replay.ts'
import { joinCluster } from './member.ts'

/** Failures that the faults of the test explain. */
const EXPECTED: ReadonlySet<string> = new Set([
  'ERR_PATH_NOT_FOUND',
  'ERR_PEER_UNREACHABLE',
  'ERR_PEER_TIMEOUT',
  'ERR_NOT_ENOUGH_OWNERS',
  'ERR_NOT_ENOUGH_REPLICAS',
  'ERR_CHUNK_UNAVAILABLE',
  'ERR_NO_PROVIDER'
])
/** Between two looks at what is newest, so that looking does not keep the machine busy. */
const PAUSE_MS = 20

/** Versions share most of their chunks. */
const CACHE_BYTES = 128 * MIB

const [dataDir = '', token = '', path = ''] = process.argv.slice(2)
const stopping = new AbortController()
process.once('SIGTERM', () => stopping.abort())
process.stdout.write('started\n')
const member = await joinCluster(dataDir, token)
process.stdout.write('joined\n')
const { repository, managers, storage } = member
const chunks = new LruCache<Uint8Array>(CACHE_BYTES)
const readChunk = managers.reader.read.bind(managers.reader)
managers.reader.read = async (id, hint, options) => {
  const known = chunks.get(chunkKey(id))
  if (known !== undefined) return new Uint8Array(known)
  const bytes = await readChunk(id, hint, options)
  chunks.set(chunkKey(id), new Uint8Array(bytes), bytes.byteLength)
  return bytes
}

/** Reads a version both ways. @throws {Error} if either differs from the replay. */
async function check(replay: BlobReplay): Promise<void> {
  const { version, span, bytes } = replay
  const snapshot = await repository.openRead(`${path}@${version}`)
  const { blob, chunkBytes } = snapshot.record
  const tree = { root: { blob, version, span }, bytes: bytes.byteLength, chunkBytes }
  const reads = {
    manifest: await readByManifest(snapshot),
    tree: await readByTree({ metadata: storage.metadata, reader: managers.reader }, tree)
  }
  for (const [way, read] of Object.entries(reads)) {
    if (equalBytes(read, bytes)) continue
    const at = read.findIndex((byte, index) => byte !== bytes[index])
    throw new Error(`version ${version} by ${way}: ${read.byteLength} bytes, wrong at ${at}`)
  }
}

async function watch(): Promise<void> {
  const replay = new BlobReplay()
  let known: VersionSummary[] = []
  let count = 0
  while (!stopping.signal.aborted) {
    try {
      const entry = await repository.stat(path)
      const newest = entry?.kind === 'file' ? entry.version : 0
      if (newest < replay.version) throw new Error(`${newest} is newest, it was ${replay.version}`)
      if (newest === replay.version) {
        await systemClock.sleep(PAUSE_MS)
        continue
      }
      known = await repository.history(path)
      for (const summary of known.slice(replay.version, newest)) replay.advance(summary)
      await check(replay)
      count++
    } catch (error) {
      if (!EXPECTED.has(errorCode(error) ?? '')) throw error
    }
  }
  process.stdout.write(`watched ${count}\n`)
}

async function checkAll(): Promise<void> {
  const replay = new BlobReplay()
  for (const summary of await repository.history(path)) {
    replay.advance(summary)
    await check(replay)
  }
  process.stdout.write(`read ${replay.version}\n`)
}

await watch()
await checkAll()
await member.stop()
