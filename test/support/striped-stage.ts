import type { Socket } from 'node:net'
import { LoopbackAnonymous } from '../../src/gridftp/auth.ts'
import { BlobDsi } from '../../src/gridftp/blob-dsi.ts'
import { LocalMover } from '../../src/gridftp/local-mover.ts'
import { GridFtpServer } from '../../src/gridftp/server.ts'
import type { GridFtpOptions } from '../../src/gridftp/types.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { MemoryMetrics } from '../../src/lib/metrics.ts'
import { seededRandom } from '../../src/lib/random.ts'
import type { Repository } from '../../src/metadata/repository.ts'
import type { DataMover } from '../../src/metadata/stripe-types.ts'
import { serveMover } from '../../src/peer/protocols/mover-serve.ts'
import { RemoteMover } from '../../src/peer/remote/mover.ts'
import { MemoryNetwork } from './memory-network.ts'
import { closeAllData, openData, RawFtp } from './raw-ftp.ts'
import { startTestRepository, type TestRepository } from './repository.ts'
import { startUploadFront, type UploadFront } from './upload-front.ts'

/** Chunks of the stage's files. */
export const STAGE_CHUNK_BYTES = 65_536

/** Another data mover of the stage. */
export interface StageMover {
  readonly id: string
  readonly mover: LocalMover
  readonly metrics: MemoryMetrics
}

/** How a stage is set up. */
export interface StripedStageOptions extends GridFtpOptions {
  /** The front is the first data mover itself. @default false */
  readonly isFrontMover?: boolean
  /** What movers tell of themselves. @default where they listen */
  readonly advertisedHost?: string
}

/** A front and two data movers that it reaches over mover/1, on the same repository. */
export class StripedStage implements AsyncDisposable {
  readonly network = new MemoryNetwork()
  readonly metrics = new MemoryMetrics()
  readonly movers: readonly StageMover[]
  readonly repository: Repository
  readonly own: LocalMover
  readonly #run: TestRepository
  readonly #front: UploadFront
  readonly #server: GridFtpServer
  readonly #raws: RawFtp[] = []
  readonly #advertisedHost: string | undefined

  private constructor(run: TestRepository, front: UploadFront, options: StripedStageOptions) {
    const { isFrontMover = false, advertisedHost, ...settings } = options
    this.#advertisedHost = advertisedHost
    this.#run = run
    this.#front = front
    this.repository = front.repository
    this.own = this.#mover('front', this.metrics)
    this.movers = ['mover-0', 'mover-1'].map((id) => {
      const metrics = new MemoryMetrics()
      return { id, metrics, mover: this.#mover(id, metrics) }
    })
    const node = this.network.node('front', { roles: new Set(['gridftp']) })
    const remotes = this.movers.map(({ id }) => new RemoteMover(id, { node, clock: systemClock }))
    this.#server = new GridFtpServer(
      {
        openStorage: (user) => new BlobDsi(front.repository, user),
        authenticator: new LoopbackAnonymous(),
        clock: systemClock,
        random: seededRandom(1),
        metrics: this.metrics,
        movers: {
          own: this.own,
          list: (): DataMover[] => [...(isFrontMover ? [this.own] : []), ...remotes]
        }
      },
      { loginDelayMs: 1, ...settings }
    )
  }

  static async open(options: StripedStageOptions = {}): Promise<StripedStage> {
    const run = await startTestRepository({ chunkBytes: STAGE_CHUNK_BYTES })
    const front = await startUploadFront(run, { chunkBytes: STAGE_CHUNK_BYTES })
    const stage = new StripedStage(run, front, options)
    for (const { id, mover } of stage.movers) {
      const node = stage.network.node(id)
      await serveMover(node, { mover, clock: systemClock, logger: noLogger })
    }
    await stage.#server.start()
    return stage
  }

  /** A session in extended block mode. */
  async login(): Promise<RawFtp> {
    const raw = await RawFtp.login(this.#server.address?.port ?? 0)
    this.#raws.push(raw)
    await raw.command('MODE E')
    return raw
  }

  /** Sends SPAS and gives its ports. */
  async stripedPassive(raw: RawFtp): Promise<number[]> {
    const reply = await raw.command('SPAS')
    const lines = Array.from(reply.matchAll(/^ (?:\d+,){4}(\d+),(\d+)$/gm))
    return lines.map(([, high, low]) => Number(high) * 256 + Number(low))
  }

  /** Sends SPAS and opens one connection to each stripe. */
  async stripes(raw: RawFtp): Promise<Socket[]> {
    const ports = await this.stripedPassive(raw)
    return await Promise.all(ports.map(async (port) => openData(port)))
  }

  /** The whole file in its newest version, undefined if there is none. */
  async read(path: string): Promise<Buffer | undefined> {
    if ((await this.repository.stat(path)) === undefined) return undefined
    const snapshot = await this.repository.openRead(path)
    const parts: Uint8Array[] = []
    for await (const part of snapshot.read({ offset: 0, length: snapshot.bytes })) parts.push(part)
    return Buffer.concat(parts)
  }

  /** What each mover has carried. */
  moved(direction: 'upload' | 'download'): number[] {
    const key = `blobswarm_gridftp_mover_bytes{direction=${direction}}`
    return this.movers.map(({ metrics }) => metrics.values.get(key) ?? 0)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const raw of this.#raws) raw.close()
    await this.#server.stop()
    await Promise.all([this.own, ...this.movers.map(({ mover }) => mover)].map((one) => one.stop()))
    closeAllData()
    await this.#front.stop()
    await this.#run.stop()
  }

  #mover(id: string, metrics: MemoryMetrics): LocalMover {
    const storage = this.#front.repository
    const random = seededRandom(1)
    const components = { storage, clock: systemClock, random, logger: noLogger, metrics }
    const advertisedHost = this.#advertisedHost
    return new LocalMover(id, components, { host: '127.0.0.1', advertisedHost })
  }
}
