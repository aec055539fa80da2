import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect } from '@jest/globals'
import { type OwnServer, urlOf } from '../contract/gridftp-clients/bench.ts'
import { globusUrlCopy } from '../contract/gridftp-clients/globus-run.ts'
import { testGridFtpClients } from '../contract/gridftp-clients.ts'
import { startBlobServer } from '../support/blob-server.ts'
import { run, runOk, testWith } from '../support/programs.ts'
import { sampleBytes, sha256 } from '../support/sample-bytes.ts'

testGridFtpClients('GridFtpServer over blobs', startBlobServer)

describe('GridFtpServer over blobs shows versions', () => {
  let server: OwnServer
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

  testWith('globus-url-copy', 'and answers an upload as the Globus server does', async () => {
    await writeFile(local('marked'), sampleBytes(3_000_000, 5))

    const upload = await globusUrlCopy(
      '-p 4',
      `file://${local('marked')}`,
      urlOf(server, '/marked')
    )

    const [start, ...rest] = upload.replies.split('\n').slice(-5)
    expect(start).toMatch(/^150 /)
    expect(rest).toEqual([
      '112 End.',
      '112 End.',
      '111 Range Marker 0-3000000',
      '226 Transfer complete.'
    ])
  })
})
