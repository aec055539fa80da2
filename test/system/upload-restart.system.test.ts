import type { Socket } from 'node:net'
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals'
import { type AgentProcess, blobswarmJson } from '../../experiments/support/agent-process.ts'
import { MODE_E_EOD, MODE_E_EOF } from '../../src/gridftp/mode-e-header.ts'
import { subtractRanges } from '../../src/lib/range-arithmetic.ts'
import { RangeSet } from '../../src/lib/range-set.ts'
import { Cluster } from '../support/cluster.ts'
import { beginStore } from '../support/ftp-upload.ts'
import { block, closeAllData, openData, RawFtp } from '../support/raw-ftp.ts'
import { sampleBytes, sha256 } from '../support/sample-bytes.ts'

const CHUNK = 65_536
const CHUNKS = 24
const WITHIN_MS = 40_000
const SETTINGS = [
  'storage.lease=1s',
  `storage.chunkBytes=${CHUNK}`,
  'collection.every=0s',
  'gridftp.markerInterval=50ms'
].flatMap((setting) => ['--set', setting])

jest.setTimeout(120_000)

let cluster: Cluster
let agent: AgentProcess
const sessions: RawFtp[] = []

beforeAll(async () => {
  cluster = await Cluster.create()
  agent = await cluster.startRepository('repository', SETTINGS)
}, 60_000)
afterAll(async () => {
  for (const session of sessions) session.close()
  closeAllData()
  await cluster.stop()
}, 30_000)

async function login(): Promise<RawFtp> {
  const port = Number(agent.ready.gridftp?.split(':').at(-1))
  const raw = await RawFtp.login(port)
  sessions.push(raw)
  return raw
}

/** Sends chunks of an image in a muddled order over an open data connection. */
function sendChunks(data: Socket, image: Uint8Array, count: number): void {
  for (let at = 0; at < count; at++) {
    const offset = ((at * 7) % CHUNKS) * CHUNK
    data.write(block(0, offset, image.subarray(offset, offset + CHUNK)))
  }
}

/** Reads restart markers until that much was promised. */
async function promised(raw: RawFtp, bytes: number): Promise<RangeSet> {
  const told = new RangeSet()
  while (told.size < bytes) {
    const [, ranges = ''] = /^111 Range Marker (.*)$/.exec(await raw.reply()) ?? []
    for (const range of ranges.split(',').filter((text) => text !== '')) {
      const [start = 0, end = 0] = range.split('-').map(Number)
      told.add(start, end)
    }
  }
  return told
}

async function storedBytes(): Promise<number> {
  return (await blobswarmJson<{ storedBytes: number }>(agent.dataDir, ['status'])).storedBytes
}

/** Collects again and again until the agent holds as many bytes as wanted. */
async function collectUntil(wantedBytes: number): Promise<void> {
  for (const endMs = performance.now() + WITHIN_MS; ; ) {
    await blobswarmJson(agent.dataDir, ['gc'])
    const bytes = await storedBytes()
    if (bytes === wantedBytes) return
    if (performance.now() > endMs) throw new Error(`${bytes} bytes are stored, not ${wantedBytes}`)
  }
}

/** Collects for several lease times. */
async function collectFor(ms: number): Promise<void> {
  for (const endMs = performance.now() + ms; performance.now() < endMs; ) {
    await blobswarmJson(agent.dataDir, ['gc'])
  }
}

test('an upload goes on from its markers after kill -9 of the agent, however long its client waited', async () => {
  const image = sampleBytes(CHUNK * CHUNKS + 1000, 1)
  const first = await login()
  const data = await beginStore(first, '/images/broken', 'E')
  sendChunks(data, image, CHUNKS / 2)
  const told = await promised(first, (CHUNKS / 2) * CHUNK)

  await agent.kill()
  agent = await cluster.startRepository('repository', SETTINGS)
  await collectFor(4000)
  const second = await login()
  await second.command('MODE E')
  const port = await second.passive()
  const ranges = Array.from(told, ({ start, end }) => `${start}-${end}`).join(',')
  await second.command(`REST ${ranges}`)
  const rest = await openData(port)
  const opening = await second.command('STOR /images/broken')
  for (const { start, end } of subtractRanges([{ start: 0, end: image.byteLength }], told)) {
    rest.write(block(0, start, image.subarray(start, end)))
  }
  rest.write(block(MODE_E_EOD | MODE_E_EOF, 1))
  const reply = await second.finalReply()

  expect([opening.slice(0, 3), reply.slice(0, 3)]).toEqual(['150', '226'])
  const stat = await blobswarmJson(agent.dataDir, ['stat', '/images/broken', '--sha256'])
  expect(stat).toMatchObject({ version: 1, bytes: image.byteLength, sha256: sha256(image) })
  await collectUntil(image.byteLength)
})

test('one whose client never comes back is collected when its time is over', async () => {
  const before = await storedBytes()
  const raw = await login()
  const data = await beginStore(raw, '/images/left', 'E')
  sendChunks(data, sampleBytes(CHUNK * CHUNKS, 2), 8)
  await promised(raw, 8 * CHUNK)
  raw.close()
  data.destroy()
  await cluster.log('repository').until(/broke and is kept/)

  await collectFor(3000)
  const kept = (await storedBytes()) - before
  await agent.stop()
  const impatient = ['--set', 'gridftp.keepPartial=10ms']
  agent = await cluster.startRepository('repository', [...SETTINGS, ...impatient])
  await collectUntil(before)

  expect(kept).toBe(8 * CHUNK)
})
