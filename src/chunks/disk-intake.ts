import { MIB } from '../lib/bytes.ts'
import type { DiskHealth } from './disk-health.ts'
import type { DiskRoom } from './disk-room.ts'
import { StoreFailedError, StoreFullError } from './errors.ts'
import type { SpaceReservation } from './store-types.ts'

export interface DiskIntakeComponents {
  readonly room: DiskRoom
  readonly health: DiskHealth
  /** Bytes that count against the quota. */
  readonly usedBytes: () => number
  /** Gives back the space of deleted chunks. @returns whether some came back. @default none does */
  readonly reclaim?: (() => Promise<boolean>) | undefined
  /**
   * Gives up chunks for so many bytes if it can.
   *
   * @returns whether it is worth to try again. @default nothing can be given up
   */
  readonly makeRoom?: ((bytes: number) => Promise<boolean>) | undefined
}

/** Deleted bytes after which the disk is looked at. */
const LOOK_AFTER_BYTES = 16 * MIB

/** Others may take what was freed for one; it does not try for ever. */
const MAX_TRIES = 16

/** Decides which bytes may come: below the quota, and as long as the disk has room for them. */
export class DiskIntake {
  readonly #components: DiskIntakeComponents
  readonly #directory: string
  readonly #quotaBytes: number
  #reservedBytes = 0
  #deletedBytes = 0
  #makingRoom: Promise<boolean> | undefined

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

  /** Waits while room is made, where that is possible. @throws {StoreFullError} */
  async reserve(bytes: number): Promise<SpaceReservation> {
    const { room } = this.#components
    for (let tries = 1, isLast = false; ; tries++) {
      const lack = await this.#take(bytes)
      if (lack === undefined) break
      if (isLast) throw new StoreFullError(`${this.#directory} (${lack})`, bytes)
      // Once more also if nothing was freed: what others freed meanwhile may do.
      isLast = !(await this.#makeRoom(bytes)) || tries === MAX_TRIES
    }
    let isReleased = false
    const release = (): void => {
      if (isReleased) return
      isReleased = true
      this.#reservedBytes -= bytes
      room.done(bytes)
    }
    return { bytes, release }
  }

  /** Those who come meanwhile share what is freed, so that no more is given up than has to be. */
  async #makeRoom(bytes: number): Promise<boolean> {
    this.#makingRoom ??= this.#freeRoom(bytes).finally(() => {
      this.#makingRoom = undefined
    })
    return await this.#makingRoom
  }

  async #freeRoom(bytes: number): Promise<boolean> {
    const { reclaim = async () => false, makeRoom = async () => false } = this.#components
    if (await reclaim()) return true
    const isFreed = await makeRoom(bytes)
    return (await reclaim()) || isFreed
  }

  /** @returns what there is too little of, if it cannot be promised. */
  async #take(bytes: number): Promise<'quota' | 'its disk is full' | undefined> {
    const { room, usedBytes } = this.#components
    if (usedBytes() + this.#reservedBytes + bytes > this.#quotaBytes) return 'quota'
    this.#reservedBytes += bytes
    let hasRoom = false
    try {
      hasRoom = await room.take(bytes)
    } finally {
      if (!hasRoom) this.#reservedBytes -= bytes
    }
    return hasRoom ? undefined : 'its disk is full'
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
