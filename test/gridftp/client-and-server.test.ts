import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from '@jest/globals'
import { LoopbackAnonymous } from '../../src/gridftp/auth.ts'
import { FileDsi } from '../../src/gridftp/file-dsi.ts'
import { GridFtpServer } from '../../src/gridftp/server.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { systemRandom } from '../../src/lib/random.ts'
import { testOwnClient } from '../contract/own-client.ts'

describe('our client against our server', () => {
  testOwnClient(test, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'blobswarm-own-server-'))
    const storage = await FileDsi.open(folder)
    const server = new GridFtpServer({
      openStorage: () => storage,
      authenticator: new LoopbackAnonymous(),
      clock: systemClock,
      random: systemRandom
    })
    const { port } = await server.start()
    const stop = async (): Promise<void> => {
      await server.stop()
      await rm(folder, { recursive: true, force: true })
    }
    return { port, root: '', stop }
  })
})
