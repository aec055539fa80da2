import { isMainThread, parentPort, type Transferable, Worker } from 'node:worker_threads'
import { BlobswarmError, errorCode, NotRunningError } from './errors.ts'
import { toError } from './to-error.ts'

/**
 * What a worker answers to: each method takes one argument that can be cloned and gives one back.
 */
export type WorkerMethods = {
  readonly [name: string]: (argument: never) => unknown
}

type Argument<M extends WorkerMethods, K extends keyof M> = Parameters<M[K]>[0]
type Result<M extends WorkerMethods, K extends keyof M> = Awaited<ReturnType<M[K]>>

interface Call {
  readonly id: number
  readonly method: string
  readonly argument: unknown
}

interface Answer {
  readonly id: number
  readonly result?: unknown
  readonly failure?: { readonly message: string; readonly code: string | undefined }
}

/** Thrown when a worker thread died while something was asked of it; this machine is at fault. */
export class WorkerFailedError extends BlobswarmError {
  constructor(name: string, options?: ErrorOptions) {
    super(`worker ${name} has died`, 'ERR_WORKER_FAILED', options)
  }
}

/** Thrown for what a method of a worker threw; message and code are the original's. */
export class WorkerCallError extends BlobswarmError {
  constructor(message: string, code = 'ERR_WORKER_CALL') {
    super(message, code)
  }
}

export interface WorkerCallerOptions {
  /** Names the worker in errors and in the list of threads. */
  readonly name: string
  /** Handed to the worker as `workerData`. */
  readonly argument?: unknown
}

/**
 * Gives the address of a worker's module that stands beside `moduleUrl`: the TypeScript file in a
 * checkout, the JavaScript file in a build.
 */
export function workerUrl(name: string, moduleUrl: string): URL {
  return new URL(`./${name}${moduleUrl.endsWith('.ts') ? '.ts' : '.js'}`, moduleUrl)
}

/**
 * Gives bytes in an array of their own: a view of a larger array would take all of that along
 * when it is sent to a worker.
 */
export function sendable(bytes: Uint8Array): Uint8Array {
  // Not `slice`, which is another view where the bytes are a Buffer.
  return bytes.byteLength === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes)
}

/**
 * Calls methods that run in a thread of their own, one after the other in the order of the calls,
 * so that what blocks (SQLite, fsync) does not block here.
 */
export class WorkerCaller<M extends WorkerMethods> {
  readonly #worker: Worker
  readonly #name: string
  readonly #pending = new Map<number, PromiseWithResolvers<unknown>>()
  readonly #exited: Promise<void>
  #nextId = 1
  #death: Error | undefined

  constructor(url: URL, options: WorkerCallerOptions) {
    this.#name = options.name
    const exited = Promise.withResolvers<void>()
    this.#exited = exited.promise
    this.#worker = new Worker(url, {
      name: options.name,
      workerData: options.argument,
      execArgv: ['--disable-warning=ExperimentalWarning']
    })
    this.#worker.on('message', (answer: Answer) => this.#settle(answer))
    this.#worker.on('error', (error) =>
      this.#die(new WorkerFailedError(this.#name, { cause: error }))
    )
    this.#worker.on('exit', () => {
      this.#die(new WorkerFailedError(this.#name))
      exited.resolve()
    })
  }

  /**
   * Runs a method. What is in `transfer` moves instead of being copied.
   *
   * @throws {WorkerCallError} with message and code of what the method threw.
   * @throws {WorkerFailedError} if the thread died.
   */
  async call<K extends keyof M & string>(
    method: K,
    argument: Argument<M, K>,
    transfer: readonly Transferable[] = []
  ): Promise<Result<M, K>> {
    if (this.#death !== undefined) throw this.#death
    const id = this.#nextId++
    const pending = Promise.withResolvers<unknown>()
    this.#pending.set(id, pending)
    const call: Call = { id, method, argument }
    this.#worker.postMessage(call, transfer)
    return (await pending.promise) as Result<M, K>
  }

  /** Lets what was called finish, then ends the thread. */
  async stop(): Promise<void> {
    await Promise.allSettled(Array.from(this.#pending.values(), ({ promise }) => promise))
    this.#death ??= new NotRunningError(`worker ${this.#name}`)
    await this.#worker.terminate()
    await this.#exited
  }

  #settle({ id, result, failure }: Answer): void {
    const pending = this.#pending.get(id)
    this.#pending.delete(id)
    if (failure === undefined) pending?.resolve(result)
    else pending?.reject(new WorkerCallError(failure.message, failure.code))
  }

  #die(error: Error): void {
    this.#death ??= error
    for (const { reject } of this.#pending.values()) reject(this.#death)
    this.#pending.clear()
  }
}

/** Answers calls; the last statement of a worker's module. */
export function serveWorkerCalls(methods: WorkerMethods): void {
  const port = parentPort
  if (isMainThread || port === null) throw new Error('not in a worker thread')
  const run = async ({ id, method, argument }: Call): Promise<Answer> => {
    try {
      return { id, result: await methods[method]?.(argument as never) }
    } catch (thrown) {
      return { id, failure: { message: toError(thrown).message, code: errorCode(thrown) } }
    }
  }
  port.on('message', (call: Call) => {
    void run(call).then((answer) => port.postMessage(answer))
  })
}
