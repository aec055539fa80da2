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
  /**
   * Takes a block at an absolute offset; blocks may come in any order and several calls may be under
   * way. Resolves when the storage has taken it, which is the back-pressure: the caller keeps a bounded
   * number of calls open. The array belongs to the handle from then on. Overlapping blocks: the later
   * call wins.
   */
  write(
    offset: number,
    bytes: Uint8Array,
    options?: { signal?: AbortSignal | undefined }
  ): Promise<void>
  /** Makes everything written durable and visible at once. @throws {UploadAbandonedError} if `isStillWanted` says no. */
  publish(options?: PublishOptions): Promise<Published>
  /** Drops the upload and frees what it holds. Harmless after `publish` and when called twice. */
  abort(): Promise<void>
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
  makeDirectory(path: string): Promise<void>
  /** Removes an empty directory. */
  removeDirectory(path: string): Promise<void>
  /** Removes a file, or one fixed version of it. */
  removeFile(path: string): Promise<void>
  /** Moves a file or directory; an existing file at the target is replaced. */
  rename(from: string, to: string): Promise<void>
}

/** Who is logged in and what they may do. */
export interface FtpUser {
  readonly name: string
  /** Folder of the namespace that the user sees as `/`. */
  readonly root: string
  readonly mayWrite: boolean
}

/** Gives each session its storage. */
export type OpenStorage = (user: FtpUser) => DataStorageInterface
