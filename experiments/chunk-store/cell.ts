import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { MIB } from '../../src/lib/bytes.ts'
import { type LayoutName, type MeasuredStore, makeStore } from './layouts.ts'
import {
  chunkOf,
  diskMib,
  dropCaches,
  residentMib,
  type SampleChunk,
  shuffledNumbers,
  timed
} from './workload.ts'

// One measurement in a process of its own; run.ts starts it. Prints one JSON line.

/** What run.ts asks for. */
export interface CellRequest {
  readonly kind: 'rates' | 'crash-writer' | 'crash-check' | 'million-fill' | 'million-start'
  readonly layout: LayoutName
  readonly folder: string
  readonly seed: number
  readonly chunkBytes: number
  readonly count: number
  /** Puts one at a time that are measured. */
  readonly aloneCount?: number
  /** Highest number of an acknowledged chunk, for `crash-check`. */
  readonly acknowledged?: readonly number[]
  readonly isCold?: boolean
}

export type CellResult = Readonly<Record<string, number | string | boolean>>

const CONCURRENCY = 32
const KEPT_OF = 4
const SETTLE_MS = 20_000
const WARM_UPS = 500
const WARM_UP_BYTES = 4096

const request = JSON.parse(process.argv[2] ?? '{}') as CellRequest
const measure = {
  rates: measureRates,
  'crash-writer': writeUntilKilled,
  'crash-check': checkAfterCrash,
  'million-fill': fillMillion,
  'million-start': startMillion
}[request.kind]
process.stdout.write(`${JSON.stringify(await measure(request))}\n`)

/** Fsynced writes alone and together, reads as the disk gives them and again, deletes. */
async function measureRates(cell: CellRequest): Promise<CellResult> {
  const { layout, folder, seed, chunkBytes, count, aloneCount = 0 } = cell
  const chunks = Array.from({ length: count + aloneCount }, (_, n) => chunkOf(seed, n, chunkBytes))
  const at = (number: number): SampleChunk => chunks[number] as SampleChunk
  await warmUp(cell)
  const writing = makeStore(layout, folder)
  await writing.start()
  const put = (number: number): Promise<unknown> => writing.put(at(number).id, at(number).bytes)
  const processorBefore = process.cpuUsage()
  const together = await timed(count, CONCURRENCY, put)
  const { user, system } = process.cpuUsage(processorBefore)
  const alone = await timed(aloneCount, 1, (number) => put(count + number))
  await writing.stop()

  const isCold = cell.isCold === true && dropCaches()
  const reading = makeStore(layout, folder)
  await reading.start()
  const order = shuffledNumbers(count, seed)
  const get = (number: number): Promise<unknown> => reading.get(at(order[number] ?? 0).id)
  const first = await timed(count, CONCURRENCY, get)
  const again = await timed(count, CONCURRENCY, get)
  const fullMib = await diskMib(folder)
  const deletes = await measureDeletes(reading, cell, chunks)
  await reading.stop()
  const rate = (number: number, seconds: number): number => (number * chunkBytes) / MIB / seconds
  return {
    put32MibS: rate(count, together),
    put32PerS: count / together,
    putCpuMs: (user + system) / 1000 / count,
    put1PerS: aloneCount / alone,
    isCold,
    readFirstMibS: rate(count, first),
    readAgainMibS: rate(count, again),
    fullMib,
    ...deletes
  }
}

/** Has the code compiled before it is measured. */
async function warmUp({ layout, folder, seed }: CellRequest): Promise<void> {
  const warm = join(folder, 'warm')
  await mkdir(warm, { recursive: true })
  const store = makeStore(layout, warm)
  await store.start()
  await timed(WARM_UPS, CONCURRENCY, async (number) => {
    const { id, bytes } = chunkOf(seed + 13, number, WARM_UP_BYTES)
    await store.put(id, bytes)
    await store.get(id)
  })
  await store.stop()
  await rm(warm, { recursive: true })
}

/** Deletes three of four, with a put every 20 ms beside it to see who is held up. */
async function measureDeletes(
  store: MeasuredStore,
  { folder, seed, chunkBytes }: CellRequest,
  chunks: readonly SampleChunk[]
): Promise<CellResult> {
  const order = shuffledNumbers(chunks.length, seed + 1)
  const goneCount = chunks.length - Math.ceil(chunks.length / KEPT_OF)
  const over = new AbortController()
  let slowestPutMs = 0
  const putting = (async () => {
    for (let number = 0; !over.signal.aborted; number++) {
      const { id, bytes } = chunkOf(seed + 7, number, chunkBytes)
      const startedAt = performance.now()
      await store.put(id, bytes)
      slowestPutMs = Math.max(slowestPutMs, performance.now() - startedAt)
      await store.delete(id)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  })()
  const seconds = await timed(goneCount, 8, (number) =>
    store.delete((chunks[order[number] ?? 0] as SampleChunk).id)
  )
  const wantedMib = ((chunks.length - goneCount) * chunkBytes * 1.5) / MIB
  const deletedAt = performance.now()
  let leftMib = await diskMib(folder)
  while (leftMib > wantedMib && performance.now() - deletedAt < SETTLE_MS) {
    await new Promise((resolve) => setTimeout(resolve, 100))
    leftMib = await diskMib(folder)
  }
  const spaceBackS = (performance.now() - deletedAt) / 1000
  over.abort()
  await putting
  const isBack = leftMib <= wantedMib
  return {
    deletePerS: goneCount / seconds,
    leftMib,
    spaceBackS: isBack ? spaceBackS : -1,
    slowestPutMs
  }
}

/** Says which chunks were acknowledged, until somebody kills it. */
async function writeUntilKilled(cell: CellRequest): Promise<CellResult> {
  const { layout, folder, seed, chunkBytes, count } = cell
  const store = makeStore(layout, folder)
  await store.start()
  await timed(count, CONCURRENCY, async (number) => {
    const { id, bytes } = chunkOf(seed, number, chunkBytes)
    await store.put(id, bytes)
    process.stdout.write(`${number}\n`)
  })
  return {}
}

async function checkAfterCrash(cell: CellRequest): Promise<CellResult> {
  const { layout, folder, seed, chunkBytes, acknowledged = [] } = cell
  const store = makeStore(layout, folder)
  const startedAt = performance.now()
  await store.start()
  const startMs = performance.now() - startedAt
  let lost = 0
  for (const number of acknowledged) {
    const { id, bytes } = chunkOf(seed, number, chunkBytes)
    const found = await store.get(id)
    if (found === undefined || Buffer.compare(found, bytes) !== 0) lost++
  }
  await store.stop()
  return { acknowledged: acknowledged.length, lost, startMs }
}

/** Fills without flushing, then puts some more with: what counts is the start afterwards. */
async function fillMillion(cell: CellRequest): Promise<CellResult> {
  const { layout, folder, seed, chunkBytes, count } = cell
  const flushed = Math.min(20_000, count / 10)
  const filling = makeStore(layout, folder, { isDurable: false })
  await filling.start()
  const fillSeconds = await timed(count - flushed, CONCURRENCY, async (number) => {
    const { id, bytes } = chunkOf(seed, number, chunkBytes)
    await filling.put(id, bytes)
  })
  const fillRssMib = residentMib()
  await filling.stop()
  const store = makeStore(layout, folder)
  const startedAt = performance.now()
  await store.start()
  const flushStartS = (performance.now() - startedAt) / 1000
  const putSeconds = await timed(flushed, CONCURRENCY, async (number) => {
    const { id, bytes } = chunkOf(seed, count - flushed + number, chunkBytes)
    await store.put(id, bytes)
  })
  const stoppedAt = performance.now()
  await store.stop()
  return {
    fillPerS: (count - flushed) / fillSeconds,
    fillRssMib,
    flushStartS,
    putPerS: flushed / putSeconds,
    stopS: (performance.now() - stoppedAt) / 1000
  }
}

async function startMillion(cell: CellRequest): Promise<CellResult> {
  const { layout, folder, seed, chunkBytes, count } = cell
  const isCold = cell.isCold === true && dropCaches()
  const emptyRssMib = residentMib()
  const store = makeStore(layout, folder)
  const startedAt = performance.now()
  await store.start()
  const startS = (performance.now() - startedAt) / 1000
  const rssMib = residentMib()
  const chunkCount = store.chunkCount
  const reads = Math.min(50_000, count)
  const order = shuffledNumbers(count, seed).slice(0, reads)
  const ids = order.map((number) => chunkOf(seed, number, chunkBytes).id)
  let missing = 0
  const seconds = await timed(reads, CONCURRENCY, async (number) => {
    if ((await store.get(ids[number] as Uint8Array)) === undefined) missing++
  })
  await store.stop()
  return { isCold, startS, chunkCount, emptyRssMib, rssMib, getPerS: reads / seconds, missing }
}
