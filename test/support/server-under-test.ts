import { buffer } from 'node:stream/consumers'
import { LoopbackAnonymous } from '../../src/gridftp/auth.ts'
import type { DataStorageInterface, OpenStorage } from '../../src/gridftp/dsi.ts'
import { PathNotFoundError } from '../../src/gridftp/errors.ts'
import { GridFtpServer } from '../../src/gridftp/server.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { systemRandom } from '../../src/lib/random.ts'
import type { ServerUnderTest } from '../contract/gridftp-clients/bench.ts'
import { WaitingLogger } from './waiting-logger.ts'

export interface StorageUnderTest {
  readonly openStorage: OpenStorage
  /** Names of what is kept of uploads that were not published. */
  readonly leftovers: () => Promise<readonly string[]>
  /** Stops the storage after its server. */
  readonly stop: () => Promise<void>
}

/** Starts our server over a storage, on a free port of 127.0.0.1. */
export async function serveStorage(storage: StorageUnderTest): Promise<ServerUnderTest> {
  const logger = new WaitingLogger()
  const { openStorage, leftovers } = storage
  const server = new GridFtpServer({
    openStorage,
    authenticator: new LoopbackAnonymous(),
    clock: systemClock,
    random: systemRandom,
    logger
  })
  const { port } = await server.start()
  const reader = openStorage({ name: 'test', root: '/', mayWrite: false })
  return {
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
