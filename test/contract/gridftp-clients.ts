import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe } from '@jest/globals'
import {
  type GetBench,
  type OwnServer,
  type StartServer,
  TREE,
  urlOf
} from './gridftp-clients/bench.ts'
import { testCurl, testKilledUpload } from './gridftp-clients/curl.ts'
import { testFtplib } from './gridftp-clients/ftplib.ts'
import { testGlobusChecks } from './gridftp-clients/globus-checks.ts'
import { testGlobusFailures, testKilledGlobusUrlCopy } from './gridftp-clients/globus-failures.ts'
import {
  testGlobusFallBacks,
  testGlobusOptions,
  testGlobusOverIpv6
} from './gridftp-clients/globus-options.ts'
import { testThirdParty } from './gridftp-clients/globus-third-party.ts'
import { testGlobusUrlCopy } from './gridftp-clients/globus-url-copy.ts'
import { testLftp } from './gridftp-clients/lftp.ts'

/** Runs the real clients that users have against a server. */
export function testGridFtpClients(name: string, startServer: StartServer): void {
  describe(`${name} serves`, () => {
    const servers: OwnServer[] = []
    let folder = ''

    const another: StartServer = async (options) => {
      const server = await startServer(options)
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

    const local = (file: string): string => join(folder, file)
    const bench: GetBench = () => {
      const [server] = servers
      if (server === undefined) throw new Error('the server has not started')
      return { server, url: (path) => urlOf(server, path), local, another }
    }

    describe('globus-url-copy', () => testGlobusUrlCopy(bench))
    describe('globus-url-copy with options', () => testGlobusOptions(bench))
    describe('globus-url-copy over IPv6', () => testGlobusOverIpv6(bench))
    describe('globus-url-copy without a passive port', () => testGlobusFallBacks(bench))
    describe('globus-url-copy, comparing', () => testGlobusChecks(bench))
    describe('globus-url-copy, refused', () => testGlobusFailures(bench))
    describe('a killed globus-url-copy', () => testKilledGlobusUrlCopy(bench))
    describe('globus-url-copy between two servers', () => {
      let target: OwnServer | undefined
      beforeAll(async () => {
        target = await another()
      })
      testThirdParty(['globus-url-copy'], () => ({
        from: bench().server,
        to: target ?? bench().server,
        tree: TREE,
        local
      }))
    })
    describe('curl', () => testCurl(bench))
    describe('a killed curl', () => testKilledUpload(bench))
    describe('lftp', () => testLftp(bench))
    describe("Python's ftplib", () => testFtplib(bench))
  })
}
