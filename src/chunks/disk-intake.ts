import { MIB } from '../lib/bytes.ts'
import type { DiskHealth } from './disk-health.ts'
import type { DiskRoom } from './disk-room.ts'
import { StoreFailedError, StoreFullError } from './errors.ts'
import type { SpaceReservation } from './types.ts'

export interface DiskIntakeComponents {
  readonly room: DiskRoom
  readonly health: DiskHealth
  /** Bytes of chunks held. */
  readonly storedBytes: () => number
}

/** Deleted bytes after which the disk is looked at. */
const LOOK_AFTER_BYTES = 16 * MIB

/** Decides which bytes may come: below the quota, and as long as the disk has room for them. */
export class DiskIntake {
  readonly #components: DiskIntakeComponents
  readonly #directory: string
  readonly #quotaBytes: number
  #reservedBytes = 0
  #deletedBytes = 0

  constructor(components: DiskIntakeComponents, directory: string, quotaBytes: number) {
    if (!(quotaBytes > 0)) throw new RangeError(`quotaBytes must be above 0, not ${quotaBytes}`)
    this.#components = components
    this.#directory = directory
    this.#quotaBytes = quotaBytes
  }

  /** Bytes that are promised and not stored yet. */
  get reservedBytes(): number {
    return this.#reservedBytes
  }

  /** @throws {StoreFullError} */
  async reserve(bytes: number): Promise<SpaceReservation> {
    const { room, storedBytes } = this.#components
    if (storedBytes() + this.#reservedBytes + bytes > this.#quotaBytes) {
      throw new StoreFullError(`${this.#directory} (quota)`, bytes)
    }
    this.#reservedBytes += bytes
    let hasRoom = false
    try {
      hasRoom = await room.take(bytes)
    } finally {
      if (!hasRoom) this.#reservedBytes -= bytes
    }
    if (!hasRoom) throw new StoreFullError(`${this.#directory} (its disk is full)`, bytes)
    let isReleased = false
    const release = (): void => {
      if (isReleased) return
      isReleased = true
      this.#reservedBytes -= bytes
      room.done(bytes)
    }
    return { bytes, release }
  }

  /** Looks at the disk now and then, for deleted chunks may still take room that is needed. */
  async noteDeleted(bytes: number): Promise<void> {
    this.#deletedBytes += bytes
    if (this.#deletedBytes < LOOK_AFTER_BYTES) return
    this.#deletedBytes = 0
    await this.#components.room.look()
  }

  /** @throws {StoreFailedError} if the disk takes no writes at present. */
  checkWritable(): void {
    const { failure } = this.#components.health
    if (failure === undefined) return
    throw new StoreFailedError(`writing in ${this.#directory}`, { cause: failure })
  }
}
