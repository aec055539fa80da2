import { mkdtemp, rm } from 'node:fs/promises'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from '@jest/globals'
import { LoopbackAnonymous } from '../../src/gridftp/auth.ts'
import { FileDsi } from '../../src/gridftp/file-dsi.ts'
import { GridFtpServer } from '../../src/gridftp/server.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { systemRandom } from '../../src/lib/random.ts'
import { type ServerForClient, testOwnClient } from '../contract/own-client.ts'

async function startServer(host: string): Promise<ServerForClient> {
  const folder = await mkdtemp(join(tmpdir(), 'blobswarm-own-server-'))
  const storage = await FileDsi.open(folder)
  const server = new GridFtpServer(
    {
      openStorage: () => storage,
      authenticator: new LoopbackAnonymous(),
      clock: systemClock,
      random: systemRandom
    },
    { host }
  )
  const { port } = await server.start()
  const stop = async (): Promise<void> => {
    await server.stop()
    await rm(folder, { recursive: true, force: true })
  }
  return { host, port, root: '', stop }
}

const hasIpv6 = (networkInterfaces().lo ?? []).some(({ address }) => address === '::1')

for (const host of hasIpv6 ? ['127.0.0.1', '::1'] : ['127.0.0.1']) {
  describe(`our client against our server on ${host}`, () => {
    testOwnClient(test, async () => startServer(host))
  })
}
