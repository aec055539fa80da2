import type {
  FileStatus,
  OpenWriteOptions,
  ReadHandle,
  WriteHandle
} from '../../src/gridftp/dsi.ts'
import { MIB } from '../../src/lib/bytes.ts'
import { MemoryDsi } from './memory-dsi.ts'

/** Calls of a storage that a test can hold. */
export type HeldCall = 'open' | 'write' | 'publish' | 'read'

/** More than two sockets hold for a reader that does not read. */
const LARGE = Buffer.alloc(32 * MIB)
const LONG_NAME = 'x'.repeat(20_000)

/**
 * A storage in memory that stands still in one kind of call until that is aborted. It has a file of
 * 32 MiB, `/large`, and a folder without end, `/endless`.
 */
export class HeldDsi extends MemoryDsi {
  /** Calls of this kind stand still. */
  held: HeldCall | undefined
  readonly #reached = Promise.withResolvers<void>()

  constructor() {
    super()
    this.put('/endless/file', new Uint8Array())
    this.put('/large', LARGE)
  }

  /** Resolves when a call that is held was made. */
  async reached(): Promise<void> {
    await this.#reached.promise
  }

  override async *list(path: string): AsyncGenerator<FileStatus> {
    const status = await this.stat('/endless/file')
    if (path !== '/endless' || status === undefined) yield* super.list(path)
    else for (;;) yield { ...status, name: LONG_NAME }
  }

  override async openRead(path: string): Promise<ReadHandle> {
    const handle = await super.openRead(path)
    const pass = async (signal?: AbortSignal): Promise<void> => this.#pass('read', signal)
    return {
      bytes: handle.bytes,
      read: async function* read(range, options = {}): AsyncGenerator<Uint8Array> {
        await pass(options.signal)
        yield* handle.read(range, options)
      },
      close: async () => handle.close()
    }
  }

  override async openWrite(path: string, options: OpenWriteOptions): Promise<WriteHandle> {
    await this.#pass('open', options.signal)
    const handle = await super.openWrite(path, options)
    return {
      write: async (offset, bytes, how = {}) => {
        await this.#pass('write', how.signal)
        await handle.write(offset, bytes, how)
      },
      publish: async (how = {}) => {
        await this.#pass('publish', how.signal)
        return handle.publish(how)
      },
      abort: async () => handle.abort()
    }
  }

  async #pass(call: HeldCall, signal: AbortSignal | undefined): Promise<void> {
    if (this.held !== call) return
    this.#reached.resolve()
    const { promise, reject } = Promise.withResolvers<never>()
    const onAbort = (): void => reject(signal?.reason)
    signal?.addEventListener('abort', onAbort, { once: true })
    if (signal?.aborted === true) onAbort()
    await promise
  }
}
