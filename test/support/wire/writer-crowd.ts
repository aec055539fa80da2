import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { WireProcess } from './wire-process.ts'
import { type JournalLine, readJournal } from './write-journal.ts'

export interface WriterCrowdOptions {
  /** Folder for data directories and journals. */
  readonly folder: string
  /** What all write to. */
  readonly path: string
  /** Gives a token to join with. */
  readonly newToken: (rights: string) => Promise<string>
  /** Goes into the names of writes, and so into what they write. */
  readonly seed: number
}

const WRITERS = 4

/** Where a writer that is to kill itself does so. */
const STEPS = ['ticket', 'nodes', 'finish'] as const

interface Awaited {
  readonly count: number
  readonly resolve: () => void
}

/** Four processes that write to one path, and one that reads it; 16 writes are under way at any time. */
export class WriterCrowd {
  readonly #options: WriterCrowdOptions
  readonly #tokens: string[] = []
  readonly #writers: WireProcess[] = []
  readonly #runs: number[] = []
  readonly #failed = Promise.withResolvers<never>()
  readonly #awaited = new Set<Awaited>()
  #reader: WireProcess | undefined
  #read: number | undefined
  #watched = 0
  #acknowledged = 0

  constructor(options: WriterCrowdOptions) {
    this.#options = options
    this.#failed.promise.catch(() => {})
  }

  get size(): number {
    return WRITERS
  }

  /** Writes that were acknowledged so far. */
  get acknowledgedCount(): number {
    return this.#acknowledged
  }

  /** Times that the reader has read a newest version while others wrote. */
  get watchedCount(): number {
    return this.#watched
  }

  /** Resolves when all have joined, which they can only do while nobody is away. */
  async start(): Promise<void> {
    const { newToken, folder, path } = this.#options
    await mkdir(join(folder, 'journals'), { recursive: true })
    for (let writer = 0; writer < WRITERS; writer++) {
      this.#tokens.push(await newToken('read,write'))
      this.#startWriter(writer)
    }
    const args = [join(folder, 'reader'), await newToken('read'), path]
    this.#reader = this.#run(new WireProcess('reader-process', args, (line) => this.#hear(line)))
    await Promise.all([...this.#writers, this.#reader].map((process) => process.joined()))
  }

  /** Resolves when so many more writes were acknowledged. @throws {Error} if a process fails meanwhile. */
  async moreAcknowledged(count: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#awaited.add({ count: this.#acknowledged + count, resolve })
    await Promise.race([promise, this.#failed.promise])
  }

  /**
   * `kill -9` of one process with its four writes, at once or when the next of them comes to the step
   * that this process was started with. Another one comes in its place.
   */
  async replaceWriter(writer: number, { isAtStep }: { readonly isAtStep: boolean }): Promise<void> {
    const process = this.#writers[writer]
    if (isAtStep) await process?.killItself()
    else await process?.kill()
    this.#startWriter(writer)
  }

  /** Lets the writers finish what they are at. @throws {Error} if one has failed. */
  async finishWriters(): Promise<void> {
    await Promise.all(this.#writers.map((writer) => writer.finish()))
  }

  /** Lets the reader read every version once more. @returns how many there were. */
  async finishReader(): Promise<number | undefined> {
    await this.#reader?.finish()
    return this.#read
  }

  /** All that the writers have noted. */
  journals(): JournalLine[] {
    return this.#writers.flatMap((_, writer) => readJournal(this.#journalOf(writer)))
  }

  async stop(): Promise<void> {
    for (const process of [...this.#writers, this.#reader]) await process?.kill()
  }

  #startWriter(writer: number): void {
    const { folder, path, seed } = this.#options
    const run = (this.#runs[writer] ?? -1) + 1
    this.#runs[writer] = run
    const name = `${seed}.${writer}.${run}`
    const dataDir = join(folder, `writer-${writer}`)
    const token = this.#tokens[writer] ?? ''
    const step = STEPS[(writer + run) % STEPS.length] ?? 'ticket'
    const args = [dataDir, token, path, this.#journalOf(writer), name, step]
    const process = new WireProcess('writer-process', args, (line) => this.#hear(line))
    this.#writers[writer] = this.#run(process)
  }

  #journalOf(writer: number): string {
    return join(this.#options.folder, 'journals', String(writer))
  }

  #run(process: WireProcess): WireProcess {
    process.ended().catch((error: unknown) => this.#failed.reject(error))
    return process
  }

  #hear(line: string): void {
    const [word, number] = line.split(' ')
    if (word === 'read') this.#read = Number(number)
    if (word === 'watched') this.#watched = Number(number)
    if (word !== 'acknowledged') return
    this.#acknowledged++
    for (const awaited of this.#awaited) {
      if (awaited.count > this.#acknowledged) continue
      this.#awaited.delete(awaited)
      awaited.resolve()
    }
  }
}
