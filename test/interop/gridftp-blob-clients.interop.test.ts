import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect } from '@jest/globals'
import { BlobDsi } from '../../src/gridftp/blob-dsi.ts'
import { urlOf } from '../contract/gridftp-clients/bench.ts'
import { type ServerUnderTest, testGridFtpClients } from '../contract/gridftp-clients.ts'
import { run, runOk, testWith } from '../support/programs.ts'
import { startTestRepository } from '../support/repository.ts'
import { sampleBytes, sha256 } from '../support/sample-bytes.ts'
import { serveStorage } from '../support/server-under-test.ts'

async function startBlobServer(): Promise<ServerUnderTest> {
  const test = await startTestRepository({ stores: 'disk' })
  return serveStorage({
    openStorage: (user) => new BlobDsi(test.repository, user),
    leftovers: async () => readdir(test.stagingFolder),
    stop: async () => test.stop()
  })
}

testGridFtpClients('GridFtpServer over blobs', startBlobServer)

describe('GridFtpServer over blobs shows versions', () => {
  let server: ServerUnderTest
  let folder = ''

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'blobswarm-versions-'))
    server = await startBlobServer()
  })

  afterAll(async () => {
    await server.stop()
    await rm(folder, { recursive: true, force: true })
  })

  const local = (name: string): string => join(folder, name)

  testWith(['curl', 'globus-url-copy'], 'each under its own name, by any client', async () => {
    const first = sampleBytes(3_000_000, 1)
    const second = Uint8Array.from(first).fill(7, 1_000_000, 1_030_000)
    await writeFile(local('first'), first)
    await writeFile(local('second'), second)
    await runOk('curl', ['-sS', '-T', local('first'), urlOf(server, '/image.raw')])
    await runOk('globus-url-copy', [
      '-p',
      '2',
      `file://${local('second')}`,
      urlOf(server, '/image.raw')
    ])

    await runOk('curl', ['-sS', '-o', local('a'), urlOf(server, '/image.raw@1')])
    await runOk('globus-url-copy', [
      '-p',
      '3',
      urlOf(server, '/image.raw@2'),
      `file://${local('b')}`
    ])
    await runOk('curl', ['-sS', '-o', local('c'), urlOf(server, '/image.raw')])

    expect(sha256(await readFile(local('a')))).toBe(sha256(first))
    expect(sha256(await readFile(local('b')))).toBe(sha256(second))
    expect(sha256(await readFile(local('c')))).toBe(sha256(second))
  })

  testWith('curl', 'and lets nobody store to one', async () => {
    await writeFile(local('x'), 'x')
    await runOk('curl', ['-sS', '-T', local('x'), urlOf(server, '/fixed.raw')])

    const overwritten = await run('curl', [
      '-sS',
      '-v',
      '-T',
      local('x'),
      urlOf(server, '/fixed.raw@1')
    ])
    const invented = await run('curl', ['-sS', '-v', '-T', local('x'), urlOf(server, '/new.raw@7')])

    expect([overwritten.exitCode, invented.exitCode]).toEqual([25, 25])
    expect(overwritten.stderr).toMatch(/< 55[03][ -].*fixed\.raw@1/)
    expect(invented.stderr).toMatch(/< 55[03][ -].*new\.raw@7/)
    expect(await server.readFile('/new.raw@7')).toBeUndefined()
  })
})
