import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { KIB } from '../../src/lib/bytes.ts'
import { MemoryMetrics } from '../../src/lib/metrics.ts'
import type { Range } from '../../src/lib/range-set.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import type { Repository } from '../../src/metadata/repository.ts'
import type { OpenWriteOptions } from '../../src/metadata/repository-types.ts'
import type { Upload } from '../../src/metadata/upload.ts'
import { UPLOAD_JOURNAL_FILE } from '../../src/metadata/upload-journal.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { startTestRepository, type TestRepository } from '../support/repository.ts'
import { sampleBytes } from '../support/sample-bytes.ts'
import {
  startUploadFront,
  type UploadFront,
  type UploadFrontOptions
} from '../support/upload-front.ts'
import { WaitingLogger } from '../support/waiting-logger.ts'

const CHUNK = 64 * KIB
const LEASE_MS = 60_000
const DAY_MS = 86_400_000

const running: { stop(): Promise<unknown> }[] = []

type Run = TestRepository & { readonly clock: ManualClock; readonly journalFolder: string }

let shared: Run
let sharedFront: UploadFront
let number = 0

beforeAll(async () => {
  shared = await openRepository()
  sharedFront = await startUploadFront(shared, { clock: shared.clock, leaseMs: LEASE_MS })
})

afterAll(async () => {
  await sharedFront.stop()
  await shared.stop()
})

afterEach(async () => {
  for (const part of running.splice(0).toReversed()) await part.stop()
  for (const user of ['ada', 'bob', 'eve']) {
    await sharedFront.repository.forgetUpload({ user, path: imagePath() })
  }
})

async function openRepository(): Promise<Run> {
  const clock = new ManualClock()
  const run = await startTestRepository({ clock, leaseMs: LEASE_MS, chunkBytes: CHUNK })
  clock.advance(LEASE_MS) // the leases of the start
  return { ...run, clock, journalFolder: join(run.folder, 'uploads') }
}

/** A repository of its own, for tests that collect everything. */
async function ownRepository(): Promise<Run> {
  const run = await openRepository()
  running.push(run)
  return run
}

/** A repository that other tests use too, with a journal of its own. */
function sharedRepository(): Run {
  return { ...shared, journalFolder: join(shared.folder, `uploads-${number++}`) }
}

/** A front that other tests use too; nothing waits there. */
function nextFront(): UploadFront {
  number++
  return sharedFront
}

async function startFront(run: Run, options: UploadFrontOptions = {}): Promise<UploadFront> {
  const { clock, journalFolder: folder } = run
  const front = await startUploadFront(run, { clock, leaseMs: LEASE_MS, folder, ...options })
  running.push(front)
  return front
}

/** Ends a front and starts another with its journal. */
async function restartFront(run: Run, front: UploadFront): Promise<UploadFront> {
  await front.stop()
  return await startFront(run)
}

/** A path that no other test uses. */
const imagePath = (): string => `/image-${number}`

type Opening = Partial<OpenWriteOptions> & { readonly user?: string; readonly path?: string }

async function open(
  repository: Repository,
  continuing?: readonly Range[],
  { user = 'ada', path = imagePath(), ...options }: Opening = {}
): Promise<Upload> {
  const restart = { user, continuing }
  return await repository.openWrite(path, { mode: 'replace', ...options, restart })
}

/** Writes a whole number of chunks, notes them and breaks. @returns what the client was told. */
async function breakAfter(writer: Upload, bytes: Uint8Array): Promise<Range[]> {
  await writer.write(0, bytes)
  const told = Array.from(await writer.checkpoint())
  await writer.suspend()
  return told
}

async function content(repository: Repository, path = imagePath()): Promise<Buffer> {
  const snapshot = await repository.openRead(path)
  const range = { offset: 0, length: snapshot.bytes }
  return Buffer.concat(await Array.fromAsync(snapshot.read(range)))
}

/** Lets a time pass in small steps, and collects in each of them. @returns how many chunks went. */
async function passCollecting(
  { clock, providers }: Run,
  ms: number,
  front?: UploadFront
): Promise<number> {
  let count = 0
  for (let passed = 0; passed < ms; passed += LEASE_MS / 12) {
    clock.advance(LEASE_MS / 12)
    for (let turn = 0; turn < 10; turn++) await nextTurn()
    await front?.kept.settled()
    for (const provider of providers.values()) {
      const collection = await provider.beginCollection()
      const unleased = await provider.unleased(collection, undefined)
      count += (await provider.collect(collection, unleased)).count
    }
  }
  return count
}

const lost = (text: string): object => ({
  code: 'ERR_UPLOAD_LOST',
  message: expect.stringContaining(text)
})

describe('an upload that is continued', () => {
  test('is one version, as if it had come in one go', async () => {
    const { repository } = nextFront()
    const image = sampleBytes(5 * CHUNK + 100)

    const told = await breakAfter(await open(repository), image.subarray(0, 3 * CHUNK + 10))
    const writer = await open(repository, told)
    await writer.write(3 * CHUNK, image.subarray(3 * CHUNK))
    const { version } = await writer.publish()

    expect(told).toEqual([{ start: 0, end: 3 * CHUNK }])
    expect(version).toBe(1)
    expect((await content(repository)).equals(image)).toBe(true)
    expect(await repository.history(imagePath())).toHaveLength(1)
  })

  test('goes on after the front was started again', async () => {
    const run = sharedRepository()
    const front = await startFront(run)
    const image = sampleBytes(4 * CHUNK)

    const told = await breakAfter(await open(front.repository), image.subarray(0, 2 * CHUNK))
    const { repository, kept } = await restartFront(run, front)
    const waiting = kept.keptCount
    const writer = await open(repository, told)
    await writer.write(2 * CHUNK, image.subarray(2 * CHUNK))
    await writer.publish()

    expect([waiting, kept.keptCount]).toEqual([1, 0])
    expect((await content(repository)).equals(image)).toBe(true)
  })

  test('may break again, and again', async () => {
    const run = sharedRepository()
    let front = await startFront(run)
    const image = sampleBytes(4 * CHUNK)

    const told: Range[] = []
    for (let chunk = 0; chunk < 4; chunk++) {
      const writer = await open(front.repository, told.length > 0 ? told : undefined)
      await writer.write(chunk * CHUNK, image.subarray(chunk * CHUNK, (chunk + 1) * CHUNK))
      told.push(...(await writer.checkpoint()))
      await writer.suspend()
      front = await restartFront(run, front)
    }
    await (await open(front.repository, told)).publish()

    expect((await content(front.repository)).equals(image)).toBe(true)
  })

  test('sees what is sent again in place of what it had', async () => {
    const { repository } = nextFront()
    const [before, after] = [sampleBytes(3 * CHUNK, 1), sampleBytes(3 * CHUNK, 2)]

    await breakAfter(await open(repository), before)
    const writer = await open(repository, [{ start: 0, end: 2 * CHUNK }])
    await writer.write(CHUNK + 5, after.subarray(CHUNK + 5))
    await writer.publish()

    const expected = Buffer.concat([before.subarray(0, CHUNK + 5), after.subarray(CHUNK + 5)])
    expect((await content(repository)).equals(expected)).toBe(true)
  })

  test('has nothing of what is not claimed, where the file has become shorter', async () => {
    const { repository } = nextFront()
    const image = sampleBytes(3 * CHUNK)

    await breakAfter(await open(repository), image)
    await (await open(repository, [{ start: 0, end: CHUNK }])).publish()

    expect((await content(repository)).equals(image.subarray(0, CHUNK))).toBe(true)
  })

  test('becomes the next version, whatever was published meanwhile by others', async () => {
    const { repository } = nextFront()
    const image = sampleBytes(2 * CHUNK)

    const told = await breakAfter(await open(repository), image)
    const other = await open(repository, undefined, { user: 'bob' })
    await other.write(0, sampleBytes(5 * CHUNK, 3))
    await other.publish()
    const { version } = await (await open(repository, told)).publish()

    expect(version).toBe(2)
    expect((await content(repository)).equals(image)).toBe(true)
  })

  test('patches what is there, where it was a patch', async () => {
    const { repository } = nextFront()
    const [base, patch] = [sampleBytes(4 * CHUNK, 1), sampleBytes(2 * CHUNK, 2)]
    const first = await open(repository)
    await first.write(0, base)
    await first.publish()

    const writer = await open(repository, undefined, { mode: 'patch' })
    await writer.write(CHUNK, patch.subarray(0, CHUNK))
    const told = Array.from(await writer.checkpoint())
    await writer.suspend()
    const continued = await open(repository, told, { mode: 'patch' })
    await continued.write(2 * CHUNK, patch.subarray(CHUNK))
    await continued.publish()

    const expected = Buffer.concat([base.subarray(0, CHUNK), patch, base.subarray(3 * CHUNK)])
    expect((await content(repository)).equals(expected)).toBe(true)
  })

  test('ends the one that still runs, whose connection nobody knows to be dead', async () => {
    const { repository } = nextFront()
    const image = sampleBytes(2 * CHUNK)
    const writer = await open(repository)
    await writer.write(0, image)
    const told = Array.from(await writer.checkpoint())

    writer.signal.addEventListener('abort', () => void writer.suspend())
    const continued = await open(repository, told)
    await continued.publish()

    expect(writer.signal.reason).toMatchObject({ code: 'ERR_UPLOAD_TAKEN_OVER' })
    expect((await content(repository)).equals(image)).toBe(true)
  })
})

describe('an upload that cannot be continued', () => {
  test('is one of which more is claimed than there is', async () => {
    const { repository, kept } = nextFront()
    const told = await breakAfter(await open(repository), sampleBytes(2 * CHUNK))

    const claims = [...told, { start: 3 * CHUNK, end: 4 * CHUNK }]

    await expect(open(repository, claims)).rejects.toMatchObject(
      lost(`bytes ${3 * CHUNK}-${4 * CHUNK}`)
    )
    expect(kept.keptCount).toBe(1)
  })

  test('is one that is claimed up to the middle of a chunk, which nobody was told', async () => {
    const { repository } = nextFront()
    await breakAfter(await open(repository), sampleBytes(2 * CHUNK))

    await expect(open(repository, [{ start: 0, end: CHUNK + 5 }])).rejects.toMatchObject(
      lost(`bytes ${CHUNK}-${CHUNK + 5}`)
    )
  })

  test.each([
    ['of another user', { user: 'bob' }],
    ['to another path', { path: '/never' }],
    ['of another kind', { mode: 'patch' }]
  ] as const)('is one %s', async (_, opening) => {
    const { repository } = nextFront()
    const told = await breakAfter(await open(repository), sampleBytes(2 * CHUNK))

    await expect(open(repository, told, opening)).rejects.toMatchObject(lost('bytes 0-'))
  })

  test('is one of a file that has another size now', async () => {
    const { repository } = nextFront()
    const begun = await open(repository, undefined, { expectedBytes: 10 * CHUNK })
    const told = await breakAfter(begun, sampleBytes(2 * CHUNK))

    await expect(open(repository, told, { expectedBytes: 9 * CHUNK })).rejects.toMatchObject(
      lost('another size')
    )
    // The same size again, or what is left of it.
    for (const expectedBytes of [10 * CHUNK, 8 * CHUNK]) {
      await (await open(repository, told, { expectedBytes })).suspend()
    }
  })

  test.each(['begun anew', 'removed', 'published'])('is one that was %s', async (how) => {
    const run = sharedRepository()
    const front = await startFront(run)
    const told = await breakAfter(await open(front.repository), sampleBytes(2 * CHUNK))

    if (how === 'begun anew') await (await open(front.repository)).abort()
    if (how === 'removed') await front.repository.forgetUpload({ user: 'ada', path: imagePath() })
    if (how === 'published') await (await open(front.repository, told)).publish()
    const { repository, kept } = await restartFront(run, front)

    expect(kept.keptCount).toBe(0)
    await expect(open(repository, told)).rejects.toMatchObject(lost('nothing is kept'))
  })

  test('is any, where none are kept', async () => {
    const { repository } = sharedRepository()
    const writer = await open(repository)
    await writer.write(0, sampleBytes(2 * CHUNK))
    const told = Array.from(await writer.checkpoint())
    await writer.suspend()

    expect(told).toEqual([])
    await expect(open(repository, [{ start: 0, end: CHUNK }])).rejects.toMatchObject(
      lost('broken uploads are not kept here')
    )
  })

  test('is one that was cut otherwise than the file that is there now', async () => {
    const { repository } = nextFront()
    const told = await breakAfter(await open(repository), sampleBytes(2 * CHUNK))
    const other = await repository.openWrite(`${imagePath()}-other`, {
      mode: 'replace',
      chunkBytes: 2 * CHUNK
    })
    await other.publish()
    await repository.rename(`${imagePath()}-other`, imagePath())

    await expect(open(repository, told)).rejects.toMatchObject(lost('chunks of another size'))
  })

  test('is one whose chunks went while no front was there', async () => {
    const run = await ownRepository()
    const front = await startFront(run)
    const told = await breakAfter(await open(front.repository), sampleBytes(2 * CHUNK))

    await front.stop()
    const collected = await passCollecting(run, 3 * LEASE_MS)
    const { repository, kept } = await startFront(run)

    expect(collected).toBe(2)
    await expect(open(repository, told)).rejects.toMatchObject({ code: 'ERR_UPLOAD_LOST' })
    expect(kept.keptCount).toBeLessThan(2)
  })

  test('is one that waited for longer than uploads are kept', async () => {
    const run = await ownRepository()
    const front = await startFront(run)
    const { repository, kept } = front
    const told = await breakAfter(await open(repository), sampleBytes(2 * CHUNK))

    const collected = await passCollecting(run, 2 * LEASE_MS, front)
    run.clock.advance(DAY_MS)
    const collectedLater = await passCollecting(run, 3 * LEASE_MS, front)

    expect([collected, collectedLater]).toEqual([0, 2])
    expect(kept.keptCount).toBe(0)
    await expect(open(repository, told)).rejects.toMatchObject(lost('nothing is kept'))
  })
})

describe('chunks of broken uploads', () => {
  test('stay while they wait, also over a restart of the front', async () => {
    const run = await ownRepository()
    const front = await startFront(run)
    const image = sampleBytes(3 * CHUNK)
    const told = await breakAfter(await open(front.repository), image)

    let collected = await passCollecting(run, 3 * LEASE_MS, front)
    await front.stop()
    collected += await passCollecting(run, LEASE_MS / 2)
    const next = await startFront(run)
    await next.kept.settled()
    collected += await passCollecting(run, 3 * LEASE_MS, next)
    await (await open(next.repository, told)).publish()

    expect(collected).toBe(0)
    expect((await content(next.repository)).equals(image)).toBe(true)
  })

  test('are not given up while their provider does not answer', async () => {
    const run = await ownRepository()
    const { repository, kept } = await startFront(run)
    const told = await breakAfter(await open(repository), sampleBytes(2 * CHUNK))

    for (const provider of run.providers.keys()) run.kill(provider)
    for (let passed = 0; passed < 30; passed++) {
      run.clock.advance(LEASE_MS / 10)
      await kept.settled()
    }

    expect(kept.keptCount).toBe(1)
    await expect(open(repository, told)).rejects.toMatchObject({ code: 'ERR_CHUNK_UNAVAILABLE' })
    expect(kept.keptCount).toBe(1)
  })

  test('stay while the upload goes on', async () => {
    const run = await ownRepository()
    const { repository } = await startFront(run)
    const image = sampleBytes(2 * CHUNK)
    const writer = await open(repository, await breakAfter(await open(repository), image))

    const collected = await passCollecting(run, 3 * LEASE_MS)
    await writer.publish()

    expect(collected).toBe(0)
    expect((await content(repository)).equals(image)).toBe(true)
  })
})

describe('keeping uploads', () => {
  test('writes nothing down for one that was not told about', async () => {
    const run = sharedRepository()
    const metrics = new MemoryMetrics()
    const { repository, kept } = await startFront(run, { metrics })
    const writer = await open(repository)

    await writer.write(0, sampleBytes(2 * CHUNK))
    await writer.suspend()

    expect(kept.keptCount).toBe(0)
    expect(metrics.values.get('blobswarm_metadata_upload_checkpoints_total')).toBeUndefined()
  })

  test('promises nothing more when there are too many, and keeps what it promised', async () => {
    const run = sharedRepository()
    const { repository, kept } = await startFront(run, { maxUploads: 2, maxUploadsPerUser: 1 })
    const image = sampleBytes(2 * CHUNK)

    const ofAda = await breakAfter(await open(repository), image)
    const second = await open(repository, undefined, { path: `${imagePath()}-2` })
    const ofAdaToo = await breakAfter(second, image)
    const ofBob = await breakAfter(await open(repository, undefined, { user: 'bob' }), image)
    const ofEve = await breakAfter(await open(repository, undefined, { user: 'eve' }), image)

    expect([ofAda, ofAdaToo, ofBob, ofEve].map(({ length }) => length)).toEqual([1, 0, 1, 0])
    expect(kept.keptCount).toBe(2)
  })

  test('promises nothing more when the journal is full', async () => {
    const run = sharedRepository()
    const { repository } = await startFront(run, { maxJournalBytes: 200 })

    const writer = await open(repository)
    await writer.write(0, sampleBytes(CHUNK))
    const first = Array.from(await writer.checkpoint())
    await writer.write(CHUNK, sampleBytes(3 * CHUNK, 2))
    const second = Array.from(await writer.checkpoint())
    await writer.suspend()

    expect([first, second]).toEqual([[{ start: 0, end: CHUNK }], [{ start: 0, end: CHUNK }]])
  })

  test('lets an upload go on whose place a newer one has taken, and promises nothing for it', async () => {
    const { repository } = nextFront()
    const image = sampleBytes(2 * CHUNK)
    const large = { expectedBytes: 2 * CHUNK }
    const older = await open(repository, undefined, large)
    const newer = await open(repository, undefined, large)

    await older.write(0, image)
    await newer.write(0, image)
    const told = Array.from(await older.checkpoint())
    await newer.abort()
    const { version } = await older.publish()

    expect(told).toEqual([])
    expect(version).toBe(1)
    expect((await content(repository)).equals(image)).toBe(true)
  })

  test('goes without when the journal cannot be written, and says so once a note', async () => {
    const run = sharedRepository()
    const logger = new WaitingLogger()
    const front = await startFront(run, { logger })
    await mkdir(join(run.journalFolder, UPLOAD_JOURNAL_FILE), { recursive: true })
    const image = sampleBytes(2 * CHUNK)

    const writer = await open(front.repository)
    await writer.write(0, image)
    const noted = writer.checkpoint()
    await expect(noted).rejects.toMatchObject({ code: 'ERR_UPLOAD_JOURNAL' })
    await writer.publish()

    expect(logger.lines.filter((line) => line.includes('cannot be noted'))).toHaveLength(1)
    expect((await content(front.repository)).equals(image)).toBe(true)
  })

  test('goes without when the journal is damaged at the start', async () => {
    const run = sharedRepository()
    await mkdir(run.journalFolder, { recursive: true })
    await writeFile(join(run.journalFolder, UPLOAD_JOURNAL_FILE), 'no database '.repeat(1000))
    const logger = new WaitingLogger()
    const { repository, kept } = await startFront(run, { logger })
    const image = sampleBytes(2 * CHUNK)

    const writer = await open(repository)
    await writer.write(0, image)
    const told = Array.from(await writer.checkpoint())
    await writer.publish()

    expect(told).toEqual([])
    expect(kept.keptCount).toBe(0)
    expect(logger.lines).toEqual([expect.stringContaining('broken uploads cannot be continued')])
    expect((await content(repository)).equals(image)).toBe(true)
  })
})
