import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LoopbackAnonymous } from '../../src/gridftp/auth.ts'
import { FileDsi } from '../../src/gridftp/file-dsi.ts'
import { UPLOADS_FOLDER } from '../../src/gridftp/file-upload.ts'
import { GridFtpServer } from '../../src/gridftp/server.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { errorCode } from '../../src/lib/errors.ts'
import { systemRandom } from '../../src/lib/random.ts'
import { type ServerUnderTest, testGridFtpClients } from '../contract/gridftp-clients.ts'
import { WaitingLogger } from '../support/waiting-logger.ts'

async function readIfThere(path: string): Promise<Uint8Array | undefined> {
  try {
    return await readFile(path)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
}

async function startFileServer(): Promise<ServerUnderTest> {
  const folder = await mkdtemp(join(tmpdir(), 'blobswarm-files-'))
  const storage = await FileDsi.open(folder)
  const logger = new WaitingLogger()
  const server = new GridFtpServer({
    openStorage: () => storage,
    authenticator: new LoopbackAnonymous(),
    clock: systemClock,
    random: systemRandom,
    logger
  })
  const { port } = await server.start()
  return {
    port,
    stop: async () => {
      await server.stop()
      await rm(folder, { recursive: true, force: true })
    },
    readFile: async (path) => readIfThere(join(folder, path)),
    uploadFailed: async (path) => logger.next(new RegExp(`STOR ${path} .* failed: `)),
    leftovers: async () => readdir(join(folder, UPLOADS_FOLDER))
  }
}

testGridFtpClients('GridFtpServer over plain files', startFileServer)
