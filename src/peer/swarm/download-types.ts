import type { ImageAccounts } from './accounts.ts'
import type { ChunkTable } from './chunk-table.ts'
import type { SearchState } from './dialling.ts'
import type { Wait } from './errors.ts'
import type { LeaveReason } from './events.ts'
import type { Neighbour } from './neighbour.ts'

/** How far a download is; the byte counts add up to the image's size when it is done. */
export interface DownloadProgress {
  readonly bytesFromProviders: number
  readonly bytesFromPeers: number
  /** Held before: from other versions or images, or twice in this one. */
  readonly bytesReused: number
  readonly zeroBytes: number
  readonly chunksDone: number
  readonly chunksTotal: number
  /** Bytes that came, of late. */
  readonly ratePerSecond: number
  /** Until all is there if chunks keep coming like that; undefined if nothing comes, or all is there. */
  readonly etaMs?: number
  readonly neighbours: number
  /** Present while nothing arrives: what the download waits for. */
  readonly wait?: Wait
}

/** Takes the bytes of a chunk that has come and is right. */
export type TakeChunk = (chunk: number, bytes: Uint8Array) => Promise<void>

/** What the downloader uses of the session that it belongs to. */
export interface DownloadHost {
  readonly image: string
  readonly table: ChunkTable
  readonly neighbours: ReadonlyMap<string, Neighbour>
  /** Takes the events of the image. */
  readonly accounts: ImageAccounts
  /** What is being done to find neighbours. */
  readonly search: SearchState
  isHeld(chunk: number): boolean
  /** A right chunk has come; resolves when nobody needs the array any more. Never rejects. */
  arrived(chunk: number, bytes: Uint8Array): Promise<void>
  /** A chunk is stored from now on: tell others. */
  stored(chunk: number): void
  /** Takes the array of a stored chunk, for others who may want it soon, until it calls `onFree`. */
  remember(chunk: number, bytes: Uint8Array, onFree: (bytes: Uint8Array) => void): void
  drop(neighbour: Neighbour, reason: LeaveReason, banMs: number): void
  /** Looks for neighbours anew, because those that are there are of no use. */
  lookAnew(): void
}
