import { describe, expect, test } from '@jest/globals'
import { DiskRoom } from '../../src/chunks/disk-room.ts'
import { GIB, MIB } from '../../src/lib/bytes.ts'

/** A disk on which the test says how much is free; counts how often it is asked. */
class Disk {
  looks = 0
  free: number

  constructor(free: number) {
    this.free = free
  }

  readonly freeBytes = async (): Promise<number> => {
    this.looks += 1
    return this.free
  }

  /** Puts chunks on the disk until there is no room. @returns how many. */
  async putChunks(room: DiskRoom, chunkBytes: number): Promise<number> {
    for (let count = 0; ; count++) {
      if (!(await room.take(chunkBytes))) return count
      this.free -= chunkBytes
      room.done(chunkBytes)
    }
  }
}

describe('room on a disk', () => {
  test('ends where the reserve begins', async () => {
    const disk = new Disk(10 * MIB)
    const room = new DiskRoom(disk.freeBytes, 4 * MIB)

    expect(await disk.putChunks(room, MIB)).toBe(6)
    expect(disk.free).toBe(4 * MIB)
  })

  test('counts what is being written', async () => {
    const disk = new Disk(10)
    const room = new DiskRoom(disk.freeBytes, 0)

    const taken = await Promise.all(Array.from({ length: 4 }, async () => room.take(3)))

    expect(taken.filter(Boolean)).toHaveLength(3)
  })

  test('notices what others write before the reserve is used up', async () => {
    const disk = new Disk(80 * MIB)
    const room = new DiskRoom(disk.freeBytes, 40 * MIB)
    await room.take(MIB)
    room.done(MIB)

    disk.free = 41 * MIB
    await disk.putChunks(room, MIB)

    expect(disk.free).toBeGreaterThan(30 * MIB)
  })

  test('is there again when others have made some', async () => {
    const disk = new Disk(0)
    const room = new DiskRoom(disk.freeBytes, 0)
    expect(await room.take(1)).toBe(false)

    disk.free = MIB

    expect(await room.take(1)).toBe(true)
  })

  test('is seldom looked for as long as there is plenty', async () => {
    const disk = new Disk(100 * GIB)
    const room = new DiskRoom(disk.freeBytes, 0)

    for (let count = 0; count < 1024; count++) await room.take(MIB)

    expect(disk.looks).toBeLessThan(20)
  })
})

test('a reserve cannot be below nothing', () => {
  expect(() => new DiskRoom(async () => 0, -1)).toThrow(RangeError)
})
