import { readFile, writeFile } from 'node:fs/promises'
import { expect } from '@jest/globals'
import { MIB } from '../../../src/lib/bytes.ts'
import { RunningProgram, run, runOk, testWith } from '../../support/programs.ts'
import { sampleBytes, sha256 } from '../../support/sample-bytes.ts'
import { digestOf, type GetBench, SIZES, urlOf } from './bench.ts'

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

  testWith('curl', '-r -N and -C N: the last bytes, the rest from an offset', async () => {
    const { url, local } = bench()
    const bytes = sampleBytes(300_000, 6)
    await writeFile(local('ends'), bytes)
    await curl('-T', local('ends'), url('/ends.raw'))

    await curl('-r', '-500', '-o', local('last'), url('/ends.raw'))
    await curl('-C', '299000', '-o', local('rest'), url('/ends.raw'))

    expect(sha256(await readFile(local('last')))).toBe(sha256(bytes.subarray(-500)))
    expect(sha256(await readFile(local('rest')))).toBe(sha256(bytes.subarray(299_000)))
  })

  testWith('curl', '-B: a text in ASCII type is not changed', async () => {
    const { server, url, local } = bench()
    await writeFile(local('text'), 'one\r\ntwo\r\n')
    await curl('-T', local('text'), url('/text.txt'))

    const shown = await curl('-B', url('/text.txt'))

    expect(shown).toBe('one\ntwo\n') // curl takes the CR away
    expect(await digestOf(server, '/text.txt')).toBe(sha256(Buffer.from('one\r\ntwo\r\n')))
  })

  testWith('curl', '-Q: commands before and after a transfer', async () => {
    const { server, url, local } = bench()
    await writeFile(local('quoted'), 'quoted')

    const renamed = ['-Q', '-RNFR /quoted/a.raw', '-Q', '-RNTO /quoted/b.raw']
    const changed = ['-Q', '-SITE CHMOD 640 /quoted/b.raw']
    const upload = ['-T', local('quoted'), url('/quoted/a.raw')]

    await curl('-Q', 'MKD /quoted', ...renamed, ...changed, ...upload)
    const listed = await curl('-l', url('/quoted/'))
    await curl('-l', '-Q', '-DELE /quoted/b.raw', '-Q', '-RMD /quoted', url('/'))

    expect(listed).toMatch(/^b\.raw\r?\n$/)
    expect(await server.readFile('/quoted/b.raw')).toBeUndefined()
  })

  testWith('curl', 'several files over one control connection', async () => {
    const { url, local } = bench()
    const bytes = [1, 2, 3].map((seed) => sampleBytes(50_000, seed))
    for (const [index, part] of bytes.entries()) await writeFile(local(`part-${index}`), part)

    const up = bytes.flatMap((_, index) => ['-T', local(`part-${index}`), url(`/several-${index}`)])
    const { stderr } = await run('curl', ['-v', ...up])
    await curl('-o', local('again-#1'), url('/several-[0-2]').replaceAll(/%5B|%5D/g, bracket))

    expect(stderr.match(/< 220 /g)).toHaveLength(1)
    for (const [index, part] of bytes.entries()) {
      expect(sha256(await readFile(local(`again-${index}`)))).toBe(sha256(part))
    }
  })

  testWith('curl', '-z: only what is newer', async () => {
    const { url, local } = bench()
    await writeFile(local('timed'), 'timed')
    await curl('-T', local('timed'), url('/timed.raw'))

    await curl('-z', '20360101', '-o', local('not-newer'), url('/timed.raw'))
    await curl('-z', '20010101', '-R', '-o', local('newer'), url('/timed.raw'))

    await expect(readFile(local('not-newer'))).rejects.toThrow('ENOENT')
    expect(await readFile(local('newer'), 'utf8')).toBe('timed')
  })

  testWith('curl', 'IPv6, passive and active', async () => {
    const { local, another } = bench()
    const server = await another({ host: '::1' })
    const bytes = sampleBytes(400_000, 7)
    await writeFile(local('six'), bytes)

    await curl('-g', '-T', local('six'), urlOf(server, '/six.raw'))
    await curl('-g', '--ftp-port', '::1', '-o', local('six.copy'), urlOf(server, '/six.raw'))

    expect(sha256(await readFile(local('six.copy')))).toBe(sha256(bytes))
  })

  testWith('curl', 'a missing file and a missing folder are refused', async () => {
    const { url } = bench()

    const file = await run('curl', ['-sS', url('/missing.raw')])
    const folder = await run('curl', ['-sS', '-T', '/dev/null', url('/missing/missing.raw')])

    expect([file.exitCode, folder.exitCode]).toEqual([78, 9])
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

function bracket(escaped: string): string {
  return escaped === '%5B' ? '[' : ']'
}
