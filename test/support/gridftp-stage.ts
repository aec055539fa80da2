import { type Authenticator, LoopbackAnonymous } from '../../src/gridftp/auth.ts'
import type { DataStorageInterface } from '../../src/gridftp/dsi.ts'
import { GridFtpServer } from '../../src/gridftp/server.ts'
import type { GridFtpOptions } from '../../src/gridftp/types.ts'
import { type Clock, systemClock } from '../../src/lib/clock.ts'
import { MemoryMetrics } from '../../src/lib/metrics.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { MemoryDsi } from './memory-dsi.ts'
import { closeAllData, RawFtp } from './raw-ftp.ts'
import { WaitingLogger } from './waiting-logger.ts'

/** A stage in every part of which a test may put its own. */
export interface StageOptions extends GridFtpOptions {
  readonly storage?: DataStorageInterface
  readonly authenticator?: Authenticator
  readonly clock?: Clock
}

/** A server over a storage in memory, with everything that tests look at. */
export class GridFtpStage implements AsyncDisposable {
  readonly logger = new WaitingLogger()
  readonly metrics = new MemoryMetrics()
  readonly server: GridFtpServer
  readonly storage: MemoryDsi
  readonly #raws: RawFtp[] = []

  private constructor(options: StageOptions) {
    const { storage = new MemoryDsi(), clock = systemClock, ...rest } = options
    const { authenticator = new LoopbackAnonymous(), ...settings } = rest
    this.storage = storage as MemoryDsi
    const { logger, metrics } = this
    const openStorage = (): DataStorageInterface => storage
    const random = seededRandom(1)
    this.server = new GridFtpServer(
      { openStorage, authenticator, clock, random, logger, metrics },
      { loginDelayMs: 1, ...settings }
    )
  }

  static async open(options: StageOptions = {}): Promise<GridFtpStage> {
    const stage = new GridFtpStage(options)
    await stage.server.start()
    return stage
  }

  get port(): number {
    return this.server.address?.port ?? 0
  }

  /** A session that has not logged in; its greeting is read. */
  async connect(localAddress?: string): Promise<RawFtp> {
    const raw = await RawFtp.connect(this.port, localAddress)
    this.#raws.push(raw)
    await raw.reply()
    return raw
  }

  /** A session that is logged in. */
  async login(): Promise<RawFtp> {
    const raw = await RawFtp.login(this.port)
    this.#raws.push(raw)
    return raw
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const raw of this.#raws) raw.close()
    await this.server.stop()
    closeAllData()
  }
}
