import { buffer } from 'node:stream/consumers'
import { type Authenticator, LoopbackAnonymous } from '../../src/gridftp/auth.ts'
import type { DataStorageInterface, OpenStorage } from '../../src/gridftp/dsi.ts'
import { PathNotFoundError } from '../../src/gridftp/errors.ts'
import { GridFtpServer } from '../../src/gridftp/server.ts'
import type { GridFtpOptions } from '../../src/gridftp/types.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { systemRandom } from '../../src/lib/random.ts'
import type { OwnServer } from '../contract/gridftp-clients/bench.ts'
import { WaitingLogger } from './waiting-logger.ts'

export interface StorageUnderTest {
  readonly openStorage: OpenStorage
  /** Who may log in. @default anybody, as anonymous */
  readonly authenticator?: Authenticator
  /** Names of what is kept of uploads that were not published. */
  readonly leftovers: () => Promise<readonly string[]>
  /** Stops the storage after its server. */
  readonly stop: () => Promise<void>
}

/** Starts our server over a storage, on a free port of 127.0.0.1 unless told otherwise. */
export async function serveStorage(
  storage: StorageUnderTest,
  options: GridFtpOptions = {}
): Promise<OwnServer> {
  const logger = new WaitingLogger()
  const { openStorage, leftovers, authenticator = new LoopbackAnonymous() } = storage
  const server = new GridFtpServer(
    { openStorage, authenticator, clock: systemClock, random: systemRandom, logger },
    options
  )
  const { host, port } = await server.start()
  const reader = openStorage({ name: 'test', root: '/', mayWrite: false })
  return {
    host,
    port,
    stop: async () => {
      await server.stop()
      await storage.stop()
    },
    readFile: async (path) => readWhole(reader, path),
    uploadFailed: async (path) => logger.next(new RegExp(`STOR ${path} .* failed: `)),
    leftovers
  }
}

async function readWhole(
  storage: DataStorageInterface,
  path: string
): Promise<Uint8Array | undefined> {
  try {
    const handle = await storage.openRead(path)
    try {
      return await buffer(handle.read({ offset: 0, length: handle.bytes }))
    } finally {
      await handle.close()
    }
  } catch (error) {
    if (error instanceof PathNotFoundError) return undefined
    throw error
  }
}
