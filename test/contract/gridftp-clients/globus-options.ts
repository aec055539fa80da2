import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { afterAll, beforeAll, expect } from '@jest/globals'
import { testWith } from '../../support/programs.ts'
import { sampleBytes, sha256 } from '../../support/sample-bytes.ts'
import { digestOf, type GetBench, type OwnServer, urlOf } from './bench.ts'
import { fileUrl, globusUrlCopy } from './globus-run.ts'

/** Options, and what they make the client say when it puts and when it gets. */
interface OptionRow {
  readonly options: string
  readonly put: RegExp
  readonly get: RegExp
}

/**
 * Options that change what goes over the control connection. -stripe without -sbs: with it,
 * globus-url-copy 10.12 leaves the end of an upload out and then waits for ever (the Globus server
 * stores 1,100,000 of 1,500,000 bytes and says 226).
 */
const ROWS: readonly OptionRow[] = [
  { options: '', put: /^PASV\nALLO 1500000\nSTOR/, get: /^PASV\nRETR/ },
  {
    options: '-p 4',
    put: /^MODE E\nPASV\nALLO 1500000\nSTOR/,
    get: /^MODE E\nOPTS RETR Parallelism=4,4,4;\nPORT .*\nRETR/
  },
  { options: '-stripe', put: /^MODE E\nSPAS\nALLO/, get: /^MODE E\nPORT / },
  { options: '-stripe -p 3', put: /^SPAS$/m, get: /^OPTS RETR Parallelism=3,3,3;$/m },
  {
    options: '-tcp-bs 262144',
    put: /^(?:SITE STORBUFSIZE|SBUF) 262144$/m,
    get: /^(?:SITE RETRBUFSIZE|SBUF) 262144$/m
  },
  { options: '-tcp-bs 262144 -p 2', put: /BUF\w* 262144$/m, get: /BUF\w* 262144$/m },
  { options: '-ipv6', put: /^EPSV$/m, get: /^EPSV$/m },
  { options: '-ipv6 -p 2', put: /^EPSV$/m, get: /^PORT /m },
  { options: '-ipv6 -stripe', put: /^SPAS 2$/m, get: /^PORT /m },
  {
    options: '-dp',
    put: /^OPTS PASV AllowDelayed=1;\nPASV\nALLO 1500000\nSTOR/,
    get: /^OPTS PASV AllowDelayed=1;\nPASV\nRETR/
  },
  { options: '-dp -p 2', put: /^OPTS PASV AllowDelayed=1;\nPASV$/m, get: /^PORT .*\nRETR/m },
  { options: '-vb -p 2', put: /^STOR/m, get: /^RETR/m },
  { options: '-rst -p 2', put: /^STOR/m, get: /^RETR/m },
  { options: '-cc 4', put: /^STOR/m, get: /^RETR/m },
  { options: '-bs 1000 -p 8', put: /^STOR/m, get: /^OPTS RETR Parallelism=8,8,8;$/m },
  { options: '-rp', put: /^STOR [^/]/m, get: /^RETR [^/]/m },
  { options: '-a', put: /^STOR/m, get: /^RETR/m },
  { options: '-nodcau', put: /^PASV\nALLO/, get: /^PASV\nRETR/ },
  // What FEAT and SITE HELP do not name the client leaves out without a word.
  { options: '-udt', put: /^PASV\nALLO/, get: /^PASV\nRETR/ },
  { options: '-dcstack tcp', put: /^PASV\nALLO/, get: /^PASV\nRETR/ },
  { options: '-pipe cat', put: /^PASV\nALLO/, get: /^PASV\nRETR/ },
  { options: '-dcpriv', put: /^PASV\nALLO/, get: /^PASV\nRETR/ }
]

/** Between a local disk and the server. */
export function testGlobusOptions(bench: GetBench): void {
  for (const { options, put, get } of ROWS) {
    testWith('globus-url-copy', `${options || 'no option'}: both ways`, async () => {
      const { server, url, local } = bench()
      const bytes = sampleBytes(1_500_000, 3)
      await writeFile(local('other'), bytes)

      const up = await globusUrlCopy(options, fileUrl(local('other')), url('/other'))
      const down = await globusUrlCopy(options, url('/other'), fileUrl(local('other.copy')))

      expect([up.sent(), down.sent()]).toEqual([
        expect.stringMatching(put),
        expect.stringMatching(get)
      ])
      expect(await digestOf(server, '/other')).toBe(sha256(bytes))
      expect(sha256(await readFile(local('other.copy')))).toBe(sha256(bytes))
    })
  }

  for (const layout of ['-sbs 100000', '-sbs 0', '-p 3 -sbs 100000']) {
    testWith('globus-url-copy', `-stripe ${layout}: a download in that layout`, async () => {
      const { url, local } = bench()
      const bytes = sampleBytes(1_500_000, 5)
      await writeFile(local('striped'), bytes)
      await globusUrlCopy('', fileUrl(local('striped')), url('/striped'))

      const { sent } = await globusUrlCopy(
        `-stripe ${layout}`,
        url('/striped'),
        fileUrl(local('striped.copy'))
      )

      expect(sent()).toMatch(/StripeLayout=(?:Partitioned;|Blocked;BlockSize=100000;)/)
      expect(sha256(await readFile(local('striped.copy')))).toBe(sha256(bytes))
    })
  }

  testWith('globus-url-copy', '-vb -p 2: markers tell how far it is', async () => {
    const { url, local } = bench()
    await writeFile(local('shown'), sampleBytes(1_500_000, 6))

    const up = await globusUrlCopy('-vb -p 2', fileUrl(local('shown')), url('/shown.raw'))

    expect(up.replies).toMatch(/^112 End\.?$/m)
    expect(up.stderr).toMatch(/Stripe Bytes Transferred: 1500000/)
  })
}

/** How the client speaks to a server on an IPv6 address; without -ipv6 it cannot connect to one. */
const IPV6_ROWS: readonly OptionRow[] = [
  { options: '-ipv6', put: /^EPSV$/m, get: /^EPSV$/m },
  { options: '-ipv6 -p 2', put: /^EPSV$/m, get: /^EPRT \|2\|::1\|/m },
  { options: '-ipv6 -fast', put: /^EPSV$/m, get: /^EPRT \|2\|::1\|/m },
  { options: '-ipv6 -stripe', put: /^SPAS 2$/m, get: /^EPRT \|2\|::1\|/m }
]

/** With a server on [::1]. */
export function testGlobusOverIpv6(bench: GetBench): void {
  let server: OwnServer

  beforeAll(async () => {
    server = await bench().another({ host: '::1' })
  })

  for (const { options, put, get } of IPV6_ROWS) {
    testWith('globus-url-copy', `${options}: both ways`, async () => {
      const { local } = bench()
      const bytes = sampleBytes(1_500_000, 3)
      await writeFile(local('six'), bytes)

      const up = await globusUrlCopy(options, fileUrl(local('six')), urlOf(server, '/six'))
      const down = await globusUrlCopy(options, urlOf(server, '/six'), fileUrl(local('six.copy')))

      expect([up.sent(), down.sent()]).toEqual([
        expect.stringMatching(put),
        expect.stringMatching(get)
      ])
      expect(sha256(await readFile(local('six.copy')))).toBe(sha256(bytes))
    })
  }
}

/** With a server all of whose passive ports are taken. */
export function testGlobusFallBacks(bench: GetBench): void {
  const taken = createServer()
  let server: OwnServer

  beforeAll(async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    taken.listen(0, '127.0.0.1', resolve)
    await promise
    const address = taken.address()
    const port = typeof address === 'object' ? (address?.port ?? 0) : 0
    server = await bench().another({ passivePorts: [port, port] })
  })

  afterAll(() => {
    taken.close()
  })

  for (const [options, tries] of Object.entries({
    '': /^PASV\nPORT /,
    '-ipv6': /^EPSV\nPASV\nPORT /
  })) {
    testWith('globus-url-copy', `${options || 'stream'}: falls back to PORT`, async () => {
      const { local } = bench()
      const bytes = sampleBytes(300_000, 4)
      await writeFile(local('back'), bytes)

      const up = await globusUrlCopy(options, fileUrl(local('back')), urlOf(server, '/back'))
      const down = await globusUrlCopy(options, urlOf(server, '/back'), fileUrl(local('back.copy')))

      expect([up.sent(), down.sent()]).toEqual([
        expect.stringMatching(tries),
        expect.stringMatching(tries)
      ])
      expect(sha256(await readFile(local('back.copy')))).toBe(sha256(bytes))
    })
  }
}
