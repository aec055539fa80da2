import { readFile, writeFile } from 'node:fs/promises'
import { expect } from '@jest/globals'
import { MIB } from '../../../src/lib/bytes.ts'
import { RunningProgram, runOk, testWith } from '../../support/programs.ts'
import { sampleBytes, sha256 } from '../../support/sample-bytes.ts'
import { digestOf, type GetBench, SIZES } from './bench.ts'

/** Uploads, downloads, parts, listings. */
export function testCurl(bench: GetBench): void {
  for (const size of SIZES) {
    testWith('curl', `-T and download: ${size} bytes`, async () => {
      const { server, url, local } = bench()
      const bytes = sampleBytes(size, size + 1)
      await writeFile(local('curl'), bytes)

      await curl('-T', local('curl'), url('/curl.raw'))
      await curl('-o', local('curl.copy'), url('/curl.raw'))

      expect(await digestOf(server, '/curl.raw')).toBe(sha256(bytes))
      expect(sha256(await readFile(local('curl.copy')))).toBe(sha256(bytes))
    })
  }

  for (const option of ['--disable-epsv', '--ftp-method nocwd', '--ftp-method singlecwd']) {
    testWith('curl', `${option}: a path of several folders both ways`, async () => {
      const { server, url, local } = bench()
      const bytes = sampleBytes(100_000, 4)
      await writeFile(local('method'), bytes)
      await curl('--ftp-create-dirs', '-T', local('method'), url('/way/of/first.raw'))

      await curl(...option.split(' '), '-T', local('method'), url('/way/of/second.raw'))
      await curl(...option.split(' '), '-o', local('method.copy'), url('/way/of/second.raw'))

      expect(await digestOf(server, '/way/of/second.raw')).toBe(sha256(bytes))
      expect(sha256(await readFile(local('method.copy')))).toBe(sha256(bytes))
    })
  }

  testWith('curl', '--append: adds to the end', async () => {
    const { server, url, local } = bench()
    await writeFile(local('add'), 'first,')
    await curl('-T', local('add'), url('/add.raw'))

    await curl('--append', '-T', local('add'), url('/add.raw'))

    expect(await digestOf(server, '/add.raw')).toBe(sha256(Buffer.from('first,first,')))
  })

  testWith('curl', '--ftp-create-dirs: makes the folders of the path', async () => {
    const { server, url, local } = bench()
    await writeFile(local('nested'), 'nested')

    await curl('--ftp-create-dirs', '-T', local('nested'), url('/curl/a/b/c.raw'))

    expect(await digestOf(server, '/curl/a/b/c.raw')).toBe(sha256(Buffer.from('nested')))
  })

  testWith('curl', '-r: a range, the rest from an offset, and the session goes on', async () => {
    const { url, local } = bench()
    const bytes = sampleBytes(3_000_000)
    await writeFile(local('range'), bytes)
    await curl('-T', local('range'), url('/range.raw'))

    await curl('-r', '1000-500999', '-o', local('middle'), url('/range.raw'))
    await curl('-r', '2000000-', '-o', local('tail'), url('/range.raw'))

    expect(sha256(await readFile(local('middle')))).toBe(sha256(bytes.subarray(1000, 501_000)))
    expect(sha256(await readFile(local('tail')))).toBe(sha256(bytes.subarray(2_000_000)))
  })

  testWith('curl', '-C: goes on with a broken download and a broken upload', async () => {
    const { server, url, local } = bench()
    const bytes = sampleBytes(400_000)
    await writeFile(local('resume'), bytes)
    await writeFile(local('half'), bytes.subarray(0, 150_000))
    await curl('-T', local('half'), url('/resume.raw'))

    await curl('-C', '-', '-T', local('resume'), url('/resume.raw'))
    await curl('-C', '-', '-o', local('half'), url('/resume.raw'))

    expect(await digestOf(server, '/resume.raw')).toBe(sha256(bytes))
    expect(sha256(await readFile(local('half')))).toBe(sha256(bytes))
  })

  testWith('curl', 'lists a folder, long and short, and heads a file', async () => {
    const { url, local } = bench()
    await writeFile(local('seven'), 'seven b')
    await curl('--ftp-create-dirs', '-T', local('seven'), url('/shown/seven.raw'))

    const long = await curl(url('/shown/'))
    const short = await curl('-l', url('/shown/'))
    const head = await curl('-I', url('/shown/seven.raw'))

    expect(long).toMatch(/^-r\S+ .* 7 .* seven\.raw\r?\n$/)
    expect(short).toMatch(/^seven\.raw\r?\n$/)
    expect(head).toMatch(/Content-Length: 7\r?\n/)
    expect(head).toMatch(/Last-Modified: /)
  })

  testWith('curl', '--ftp-port: active mode both ways', async () => {
    const { server, url, local } = bench()
    const bytes = sampleBytes(500_000)
    await writeFile(local('active'), bytes)

    await curl('--ftp-port', '127.0.0.1', '-T', local('active'), url('/active.raw'))
    await curl('--ftp-port', '127.0.0.1', '-o', local('active.copy'), url('/active.raw'))

    expect(await digestOf(server, '/active.raw')).toBe(sha256(bytes))
    expect(sha256(await readFile(local('active.copy')))).toBe(sha256(bytes))
  })
}

/** What is left of an upload whose client was killed. */
export function testKilledUpload(bench: GetBench): void {
  const killInTheMiddle = async (path: string): Promise<void> => {
    const { server, url } = bench()
    const failed = server.uploadFailed(path)
    const upload = new RunningProgram('curl', ['-sS', '-T', '-', url(path)], {
      keepsInputOpen: true
    })
    // More than sockets and the server's queue can hold: some of it is in the storage by then.
    for (let index = 0; index < 48; index += 1) await upload.feed(sampleBytes(MIB, index))
    upload.kill()
    await upload.ended()
    await failed
    expect(await server.leftovers()).toEqual([])
  }

  testWith('curl', 'kill -9 in the middle of an upload publishes nothing', async () => {
    const { server, url, local } = bench()
    await writeFile(local('beside'), 'beside')
    await curl('--ftp-create-dirs', '-T', local('beside'), url('/killed/beside.raw'))

    await killInTheMiddle('/killed/cut.raw')

    expect(await server.readFile('/killed/cut.raw')).toBeUndefined()
    expect(await curl('-l', url('/killed/'))).toMatch(/^beside\.raw\r?\n$/)
  })

  testWith('curl', 'kill -9 in the middle of an upload keeps what was there', async () => {
    const { server, url, local } = bench()
    await writeFile(local('kept'), 'kept')
    await curl('-T', local('kept'), url('/kept.raw'))

    await killInTheMiddle('/kept.raw')

    expect(await digestOf(server, '/kept.raw')).toBe(sha256(Buffer.from('kept')))
  })
}

async function curl(...args: readonly string[]): Promise<string> {
  return runOk('curl', ['-sS', '--max-time', '25', ...args])
}
