import { expect, test } from '@jest/globals'
import { UploadQueue } from '../../src/gridftp/upload-queue.ts'
import { KIB } from '../../src/lib/bytes.ts'

/** A storage whose writes end when the test says so. */
class SlowStorage {
  readonly calls: { offset: number; finish: () => void; fail: (error: Error) => void }[] = []

  async write(offset: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.calls.push({ offset, finish: resolve, fail: reject })
    await promise
  }

  /** Ends the oldest write that runs. */
  finishOne(): void {
    this.calls.shift()?.finish()
  }
}

const bytes = (length = 1): Uint8Array => new Uint8Array(length)

async function turns(): Promise<void> {
  await new Promise((resolve) => {
    setImmediate(resolve)
  })
}

test('keeps a bounded number of writes under way, in the order of arrival', async () => {
  const storage = new SlowStorage()
  const queue = new UploadQueue(storage, { queueDepth: 2 })

  for (const offset of [0, 1, 2, 3]) queue.push(offset, bytes())
  const first = storage.calls.map(({ offset }) => offset)
  storage.finishOne()
  await turns()

  expect(first).toEqual([0, 1])
  expect(storage.calls.map(({ offset }) => offset)).toEqual([1, 2])
})

test('says when it is full and when there is room again', async () => {
  const storage = new SlowStorage()
  const queue = new UploadQueue(storage, { queueBytes: 10 * KIB, queueDepth: 8 })

  const answers = [queue.push(0, bytes(4 * KIB)), queue.push(1, bytes(4 * KIB))]
  let hasRoom = false
  const room = (async () => {
    await queue.whenRoom()
    hasRoom = true
  })()
  await turns()
  const whileFull = hasRoom
  storage.finishOne()
  await room

  expect(answers).toEqual([true, false])
  expect(whileFull).toBe(false)
  expect(queue.heldBytes).toBe(5 * KIB)
})

test('tiny pieces fill it too', () => {
  const queue = new UploadQueue(new SlowStorage(), { queueBytes: 100 * KIB })
  let count = 0
  while (queue.push(count, bytes(1))) count += 1

  expect(count).toBeLessThan(100)
})

test('finish waits for everything and counts it', async () => {
  let written = 0
  const queue = new UploadQueue(
    { write: async () => await turns() },
    { queueDepth: 3, onWritten: (length) => (written += length) }
  )
  for (let index = 0; index < 5000; index += 1) queue.push(index * 7, bytes(7))

  await queue.finish()

  expect(written).toBe(35_000)
  expect(queue.heldBytes).toBe(0)
})

test('the first failed write ends it: nothing more is written, finish throws it', async () => {
  const storage = new SlowStorage()
  const errors: Error[] = []
  const queue = new UploadQueue(storage, {
    queueDepth: 1,
    queueBytes: 3 * KIB,
    onError: (error) => errors.push(error)
  })
  for (const offset of [0, 1, 2]) queue.push(offset, bytes(KIB))
  const room = queue.whenRoom()

  storage.calls.shift()?.fail(new Error('disk full'))
  await room
  queue.push(3, bytes(KIB))

  await expect(queue.finish()).rejects.toThrow('disk full')
  expect(errors.map(({ message }) => message)).toEqual(['disk full'])
  expect(storage.calls).toEqual([])
  expect(queue.heldBytes).toBe(0)
})

test('abort drops what waits and waits for what runs', async () => {
  const storage = new SlowStorage()
  const queue = new UploadQueue(storage, { queueDepth: 1 })
  queue.push(0, bytes())
  queue.push(1, bytes())
  let isDone = false

  const aborting = (async () => {
    await queue.abort(new Error('gone'))
    isDone = true
  })()
  await turns()
  const whileRunning = isDone
  storage.finishOne()
  await aborting

  expect(whileRunning).toBe(false)
  expect(storage.calls).toEqual([])
})

/** A storage that takes as many blocks at once as the test says, and the others when it says so. */
class EagerStorage extends SlowStorage {
  readonly content: number[] = []
  room = 0

  tryWrite(offset: number, block: Uint8Array): boolean {
    if (this.room === 0) return false
    this.room -= 1
    this.#put(offset, block)
    return true
  }

  override async write(offset: number, block = bytes()): Promise<void> {
    await super.write(offset)
    this.#put(offset, block)
  }

  #put(offset: number, block: Uint8Array): void {
    for (const [at, byte] of block.entries()) this.content[offset + at] = byte
  }
}

test('gives a storage that takes blocks at once the array that was lent, and holds nothing', () => {
  const storage = new EagerStorage()
  storage.room = 2
  let written = 0
  const queue = new UploadQueue(storage, { onWritten: (length) => (written += length) })
  const lent = Uint8Array.of(1, 2)

  const answers = [queue.push(0, lent)]
  lent.set([3, 4])
  answers.push(queue.push(2, lent))

  expect(answers).toEqual([true, true])
  expect(storage.content).toEqual([1, 2, 3, 4])
  expect([written, queue.heldBytes]).toEqual([4, 0])
})

test('a storage that throws where it may only say no ends its upload, and nothing else', async () => {
  const storage = new EagerStorage()
  storage.tryWrite = () => {
    throw new TypeError('a defect')
  }
  const errors: Error[] = []
  const queue = new UploadQueue(storage, { onError: (error) => errors.push(error) })

  const hasRoom = queue.push(0, bytes())

  expect(hasRoom).toBe(false)
  expect(errors.map(({ message }) => message)).toEqual(['a defect'])
  await expect(queue.finish()).rejects.toThrow('a defect')
})

test('copies what such a storage has no room for, and is full until that is taken', async () => {
  const storage = new EagerStorage()
  const queue = new UploadQueue(storage)
  const lent = Uint8Array.of(1)

  const hasRoom = queue.push(0, lent)
  lent.fill(9)
  const room = queue.whenRoom()
  storage.room = 2
  storage.finishOne()
  await room

  expect(hasRoom).toBe(false)
  expect(storage.content).toEqual([1])
  expect(queue.push(1, lent)).toBe(true)
})

test('lets nothing overtake what waits', async () => {
  const storage = new EagerStorage()
  const queue = new UploadQueue(storage)
  queue.push(0, Uint8Array.of(1))
  storage.room = 5

  const hasRoom = queue.push(0, Uint8Array.of(2))
  storage.finishOne()
  await turns()
  storage.finishOne()
  await queue.finish()

  expect(hasRoom).toBe(false)
  expect(storage.content).toEqual([2])
})

test('gives a block away that the storage does not take at once after a wait either', async () => {
  const storage = new EagerStorage()
  const queue = new UploadQueue(storage)
  queue.push(0, Uint8Array.of(1))

  storage.finishOne()
  await turns()
  storage.finishOne()
  await queue.finish()

  expect(storage.content).toEqual([1])
})

test('gives what waited as it came, whatever became of the array and of earlier buffers', async () => {
  const storage = new EagerStorage()
  const queue = new UploadQueue(storage)
  const lent = bytes(200 * KIB)
  const seen: (number | undefined)[] = []

  for (const value of [1, 2, 3]) {
    queue.push(0, lent.fill(value))
    lent.fill(9)
    storage.room = 1
    storage.finishOne()
    await queue.finish()
    seen.push(storage.content.at(-1))
  }

  expect(seen).toEqual([1, 2, 3])
})

test('refuses impossible limits', () => {
  expect(() => new UploadQueue(new SlowStorage(), { queueBytes: 0 })).toThrow(RangeError)
  expect(() => new UploadQueue(new SlowStorage(), { queueDepth: 0 })).toThrow(RangeError)
})
