import type { FileLayer } from './file-layer.ts'

interface Handle {
  readonly file: Promise<number>
  users: number
  isDropped: boolean
}

/**
 * Files that stay open for reading between uses, a bounded number; those longest unused are closed
 * first. A file that is in use stays open until it is not, even if it is forgotten meanwhile.
 */
export class OpenFiles {
  readonly #files: FileLayer
  readonly #maxIdle: number
  // In order of use, the longest unused first.
  readonly #handles = new Map<string, Handle>()

  /** `maxIdle` files stay open at most beside those in use. */
  constructor(files: FileLayer, maxIdle = 64) {
    this.#files = files
    this.#maxIdle = maxIdle
  }

  /**
   * Opens the file if it is not open, and calls `work`.
   *
   * @throws {unknown} what opening or `work` threw.
   */
  async use<T>(path: string, work: (file: number) => Promise<T>): Promise<T> {
    const handle = this.#take(path)
    handle.users++
    try {
      return await work(await this.#opened(path, handle))
    } finally {
      handle.users--
      if (handle.users === 0 && handle.isDropped) await this.#close(handle)
      await this.#trim()
    }
  }

  /** Closes the file when nobody uses it any more; the next use opens it anew. */
  async forget(path: string): Promise<void> {
    const handle = this.#handles.get(path)
    if (handle === undefined) return
    this.#handles.delete(path)
    handle.isDropped = true
    if (handle.users === 0) await this.#close(handle)
  }

  /** Closes all files. */
  async close(): Promise<void> {
    for (const path of Array.from(this.#handles.keys())) await this.forget(path)
  }

  #take(path: string): Handle {
    const handle = this.#handles.get(path) ?? {
      file: this.#files.open(path, 'r'),
      users: 0,
      isDropped: false
    }
    this.#handles.delete(path)
    this.#handles.set(path, handle)
    return handle
  }

  async #opened(path: string, handle: Handle): Promise<number> {
    try {
      return await handle.file
    } catch (error) {
      if (this.#handles.get(path) === handle) this.#handles.delete(path)
      throw error
    }
  }

  async #trim(): Promise<void> {
    if (this.#handles.size <= this.#maxIdle) return
    for (const [path, { users }] of this.#handles) {
      if (users === 0) return await this.forget(path)
    }
  }

  async #close({ file }: Handle): Promise<void> {
    const [opened] = await Promise.allSettled([file])
    if (opened.status === 'fulfilled') await this.#files.close(opened.value)
  }
}
