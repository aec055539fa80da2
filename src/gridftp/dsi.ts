import type { WriteBlockOptions } from '../chunks/types.ts'
import type { Range } from '../lib/range-set.ts'
import type { StripedReadHandle, StripedWriteHandle } from './striped-storage.ts'

/** What a listing shows of one file or directory. */
export interface FileStatus {
  /** Last part of the path, UTF-8; `image.raw@3` for a fixed version. */
  readonly name: string
  readonly type: 'file' | 'directory'
  /** 0 for a directory. */
  readonly bytes: number
  /** Milliseconds since the epoch. */
  readonly modifiedMs: number
  /** Fixed versions (`name@V`) and everything below them cannot be stored to. */
  readonly readOnly: boolean
  /** The same for the same content of the same file as long as it lives (MLSD `Unique`). */
  readonly unique: string
  /** In a listing: it is a link to this, and commands for whole trees do not go through it. */
  readonly isLink?: boolean
}

/** Half-open range of bytes. */
export interface ByteRange {
  readonly offset: number
  readonly length: number
}

/** One file opened for reading; what it shows does not change while it is open. */
export interface ReadHandle {
  readonly bytes: number
  /**
   * Yields the bytes of a range in order, in arrays of the storage's choice that belong to the taker.
   * Ends early at the end of the file. Several reads may run at the same time.
   */
  read(range: ByteRange, options?: { signal?: AbortSignal | undefined }): AsyncIterable<Uint8Array>
  /**
   * Takes an array back that `read` has yielded, when nobody looks at it any more, to use it again.
   */
  giveBack?(bytes: Uint8Array): void
  close(): Promise<void>
}

/** How an upload ended. */
export interface Published {
  /** Size of the file now. */
  readonly bytes: number
  /** Version number, where the storage has versions. */
  readonly version?: number
}

export interface PublishOptions {
  /**
   * Asked at the last moment before the upload becomes visible; false turns publishing into an abort.
   * MODE S has no other way to tell a finished client from a killed one: is the control connection
   * still open?
   */
  readonly isStillWanted?: () => boolean
  readonly signal?: AbortSignal | undefined
}

/** One upload. Nothing of it is visible before `publish` resolves. */
export interface WriteHandle {
  /** Aborted, with the reason, when the upload has failed by itself: calls to come will say the same. */
  readonly failed?: AbortSignal
  /**
   * Takes a block at an absolute offset; blocks may come in any order and several calls may be under
   * way. Resolves when the storage has taken it, which is the back-pressure: the caller keeps a bounded
   * number of calls open. The array belongs to the handle from then on; a handle that has `tryWrite`
   * is also lent arrays. Overlapping blocks: the later call wins. An empty block only waits until there is room for more.
   */
  write(offset: number, bytes: Uint8Array, options?: WriteBlockOptions): Promise<void>
  /**
   * Takes a block at once, without waiting, by copying it: the array stays the caller's, who uses it
   * again. Where a storage has this, a block is tried with it first; where blocks overlap the later
   * call wins, whichever of the two it is.
   *
   * @returns false if it took nothing, because there is no room now or the upload has failed: `write`
   * will wait, or say why.
   */
  tryWrite?(offset: number, bytes: Uint8Array): boolean
  /**
   * Makes what was taken so far durable and notes it, so that an upload that breaks can be continued
   * from there, even after this process was killed (GridFTP's restart markers). Only of uploads that
   * were opened with `isRestartable`.
   *
   * @returns what a continued upload need not be sent again: ranges of bytes numbered like those of
   * `write`, only whole chunks.
   */
  checkpoint?(): Promise<Iterable<Range>>
  /**
   * Yields what the file will hold, from an offset to its end, gaps as zeros. Only between the last
   * `write` and `publish`; a storage without it cannot show what is not published yet.
   */
  readBack?(
    offset: number,
    options?: { signal?: AbortSignal | undefined }
  ): AsyncIterable<Uint8Array>
  /** Makes everything written durable and visible at once. @throws {UploadAbandonedError} if `isStillWanted` says no. */
  publish(options?: PublishOptions): Promise<Published>
  /** Drops the upload and frees what it holds. Harmless after `publish` and when called twice. */
  abort(): Promise<void>
  /**
   * Ends the upload like `abort`, but what `checkpoint` noted stays for a day, for an upload of the same
   * user to the same path that is opened with `continuing`.
   */
  suspend?(): Promise<void>
}

export interface OpenWriteOptions {
  /**
   * `replace`: the file becomes exactly what is written, gaps read as zeros (STOR).
   * `patch`: what is written goes over the newest content (REST + STOR, ESTO).
   * `append`: offsets count from the end of the newest content (APPE).
   */
  readonly mode: 'replace' | 'patch' | 'append'
  /** What the client announced (ALLO), in bytes: a hint for the layout, and refused early when there is no room. */
  readonly expectedBytes?: number | undefined
  /** Pieces of the file that may be on their way to its disks. @default the storage's choice */
  readonly maxUnderWay?: number | undefined
  /** `checkpoint` and `suspend` will be used. @default false */
  readonly isRestartable?: boolean | undefined
  /**
   * Goes on with the broken upload of this user to this path: the client has been told that these
   * ranges are there and does not send them again.
   *
   * @throws {UploadLostError} from `openWrite` if one of them is not there any more.
   */
  readonly continuing?: readonly Range[] | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * Data storage interface: what the GridFTP server asks of a storage. Named after the Globus server's
 * DSI. One instance serves one logged-in user. Paths are absolute, normalised and already confined to
 * the user's root folder.
 *
 * Methods reject with a StorageError subclass of gridftp/errors.ts; anything else becomes reply 451.
 */
export interface DataStorageInterface {
  /** Status of a path, or undefined when there is nothing. */
  stat(path: string): Promise<FileStatus | undefined>
  /** Yields the entries of a directory in order of their names. */
  list(path: string): AsyncIterable<FileStatus>
  openRead(path: string): Promise<ReadHandle>
  openWrite(path: string, options: OpenWriteOptions): Promise<WriteHandle>
  /** Opens a file that data movers read. Only where the storage has data movers. */
  openStripedRead?(path: string): Promise<StripedReadHandle>
  /** Opens an upload whose blocks data movers store. Only where the storage has data movers. */
  openStripedWrite?(path: string, options: OpenWriteOptions): Promise<StripedWriteHandle>
  makeDirectory(path: string): Promise<void>
  /** Removes an empty directory. */
  removeDirectory(path: string): Promise<void>
  /** Removes a file, or one fixed version of it. */
  removeFile(path: string): Promise<void>
  /** Moves a file or directory; an existing file at the target is replaced. */
  rename(from: string, to: string): Promise<void>
  /** Sets the time that listings show of a file or directory, in milliseconds since the epoch (MFMT). */
  setModified(path: string, modifiedMs: number): Promise<void>
}

/** Who is logged in and what they may do. */
export interface FtpUser {
  readonly name: string
  /** Folder of the namespace that the user sees as `/`. */
  readonly root: string
  readonly mayWrite: boolean
  /** What the newest versions of all files below the root may take together. @default no limit */
  readonly quotaBytes?: number | undefined
}

/** Gives each session its storage. */
export type OpenStorage = (user: FtpUser) => DataStorageInterface
