/**
 * Writes to one path of a cluster, four writes at a time, until SIGTERM or kill -9. Every write is
 * named, what it does follows from its name (written-content.ts), and the version's note is the name.
 * Prints `acknowledged VERSION` after each that came through. After SIGUSR2 it kills itself at the next
 * step of a write: when it is given a ticket, has stored nodes, or has finished it. Run by
 * concurrent-writers.system.test.ts: node writer-process.ts DATA_DIR TOKEN PATH JOURNAL NAME STEP
 */
import { errorCode } from '../../../src/lib/errors.ts'
import { joinCluster } from './member.ts'
import { WriteJournal } from './write-journal.ts'
import { contentOf, WIRE_CHUNK_BYTES } from './written-content.ts'

/** Failures that the faults of the test explain. */
const EXPECTED: ReadonlySet<string> = new Set([
  'ERR_PEER_UNREACHABLE',
  'ERR_PEER_TIMEOUT',
  'ERR_NOT_ENOUGH_OWNERS',
  'ERR_NOT_ENOUGH_REPLICAS',
  'ERR_CHUNK_UNAVAILABLE',
  'ERR_NO_PROVIDER'
])
const LANES = 4

const [dataDir = '', token = '', path = '', journalFile = '', runName = '', step = ''] =
  process.argv.slice(2)
const stopping = new AbortController()
const doomed = new AbortController()
process.once('SIGTERM', () => stopping.abort())
process.once('SIGUSR2', () => doomed.abort())
process.stdout.write('started\n')
const journal = new WriteJournal(journalFile)
const member = await joinCluster(dataDir, token)
process.stdout.write('joined\n')
const { versions } = member.managers
const { metadata } = member.storage
if (step === 'ticket') versions.assign = dyingAfter(versions.assign.bind(versions))
if (step === 'nodes') metadata.putNodes = dyingAfter(metadata.putNodes.bind(metadata))
if (step === 'finish') versions.finish = dyingAfter(versions.finish.bind(versions))

/** Stands before a method: kills this process, once it is doomed, as soon as a call was answered. */
function dyingAfter<A extends unknown[], R>(
  call: (...args: A) => Promise<R>
): (...args: A) => Promise<R> {
  return async (...args) => {
    const answer = await call(...args)
    if (doomed.signal.aborted) process.kill(process.pid, 'SIGKILL')
    return answer
  }
}

async function write(name: string): Promise<number> {
  const { mode, pieces, extendTo } = contentOf(name)
  const upload = await member.repository.openWrite(path, {
    mode,
    note: name,
    chunkBytes: WIRE_CHUNK_BYTES
  })
  try {
    for (const { offset, bytes } of pieces) await upload.write(offset, bytes)
    if (extendTo > 0) upload.extendTo(extendTo)
    return (await upload.publish()).version
  } finally {
    await upload.abort()
  }
}

async function writeAgainAndAgain(lane: number): Promise<void> {
  for (let number = 0; !stopping.signal.aborted; number++) {
    const name = `${runName}.${lane}.${number}`
    journal.note({ kind: 'begun', name })
    try {
      const version = await write(name)
      journal.note({ kind: 'acknowledged', name, version })
      process.stdout.write(`acknowledged ${version}\n`)
    } catch (error) {
      const code = errorCode(error) ?? ''
      journal.note({ kind: 'failed', name, code })
      if (!EXPECTED.has(code)) throw error
    }
  }
}

await Promise.all(Array.from({ length: LANES }, async (_, lane) => writeAgainAndAgain(lane)))
await member.stop()
journal.close()
