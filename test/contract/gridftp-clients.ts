import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe } from '@jest/globals'
import { type GetBench, type ServerUnderTest, urlOf } from './gridftp-clients/bench.ts'
import { testCurl, testKilledUpload } from './gridftp-clients/curl.ts'
import {
  testGlobusUrlCopy,
  testKilledGlobusUrlCopy,
  testThirdParty
} from './gridftp-clients/globus-url-copy.ts'
import { testLftp } from './gridftp-clients/lftp.ts'

export type { ServerUnderTest } from './gridftp-clients/bench.ts'

/** Runs the real clients that users have against a server. */
export function testGridFtpClients(
  name: string,
  startServer: () => Promise<ServerUnderTest>
): void {
  describe(`${name} serves`, () => {
    const servers: ServerUnderTest[] = []
    let folder = ''

    const another = async (): Promise<ServerUnderTest> => {
      const server = await startServer()
      servers.push(server)
      return server
    }

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'blobswarm-clients-'))
      await another()
    })

    afterAll(async () => {
      for (const server of servers) await server.stop()
      await rm(folder, { recursive: true, force: true })
    })

    const bench: GetBench = () => {
      const [server] = servers
      if (server === undefined) throw new Error('the server has not started')
      return {
        server,
        url: (path) => urlOf(server, path),
        local: (file) => join(folder, file),
        another
      }
    }

    describe('globus-url-copy', () => testGlobusUrlCopy(bench))
    describe('globus-url-copy between two servers', () => testThirdParty(bench))
    describe('a killed globus-url-copy', () => testKilledGlobusUrlCopy(bench))
    describe('curl', () => testCurl(bench))
    describe('a killed curl', () => testKilledUpload(bench))
    describe('lftp', () => testLftp(bench))
  })
}
