import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect } from '@jest/globals'
import { UsersFile } from '../../src/gridftp/auth.ts'
import { hashPassword } from '../../src/gridftp/password.ts'
import { formatUserLine } from '../../src/gridftp/users-file.ts'
import { digestOf, type OwnServer } from '../contract/gridftp-clients/bench.ts'
import { openBlobStorage } from '../support/blob-server.ts'
import { run, runOk, testWith } from '../support/programs.ts'
import { sampleBytes, sha256 } from '../support/sample-bytes.ts'
import { serveStorage } from '../support/server-under-test.ts'

describe('GridFtpServer with a file of users', () => {
  let server: OwnServer
  let folder = ''

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'blobswarm-users-'))
    const hash = await hashPassword('se:cret', { N: 1024 })
    const lines = [
      formatUserLine({ name: 'ada', root: '/home/ada', mayWrite: true }, hash),
      formatUserLine({ name: 'reader', root: '/home/ada', mayWrite: false }, hash)
    ]
    await writeFile(local('users'), lines.join('\n'))
    const authenticator = new UsersFile(local('users'))
    server = await serveStorage(
      { ...(await openBlobStorage()), authenticator },
      { loginDelayMs: 1 }
    )
    await writeFile(local('image'), sampleBytes(700_000, 51))
  })

  afterAll(async () => {
    await server.stop()
    await rm(folder, { recursive: true, force: true })
  })

  const local = (name: string): string => join(folder, name)
  const url = (user: string, path: string, password = 'se%3Acret'): string =>
    `ftp://${user}:${password}@127.0.0.1:${server.port}${path}`
  const digest = sha256(sampleBytes(700_000, 51))

  testWith(['curl', 'globus-url-copy', 'lftp'], 'shows each user their own root', async () => {
    const image = local('image')
    await runOk('globus-url-copy', ['-p', '2', `file://${image}`, url('ada', '/globus.raw')])
    await runOk('curl', ['-sS', '-T', image, url('ada', '/curl.raw')])
    const open = `open -u ada,se:cret -p ${server.port} 127.0.0.1`
    await runOk('lftp', ['--norc', '-c', `${open}; put ${image} -o lftp.raw; cd /..; pwd`])

    const listed = await runOk('curl', ['-sS', '-l', url('reader', '/')])
    await runOk('globus-url-copy', [url('reader', '/curl.raw'), `file://${local('copy')}`])

    expect(listed.split(/\r?\n/)).toEqual(['curl.raw', 'globus.raw', 'lftp.raw', ''])
    expect(sha256(await readFile(local('copy')))).toBe(digest)
    for (const name of ['globus', 'curl', 'lftp']) {
      expect([name, await digestOf(server, `/home/ada/${name}.raw`)]).toEqual([name, digest])
    }
  })

  testWith(['curl', 'globus-url-copy'], 'refuses wrong passwords and anonymous users', async () => {
    const wrong = await run('curl', ['-sS', url('ada', '/', 'wrong')])
    const anonymous = await run('globus-url-copy', [
      `ftp://127.0.0.1:${server.port}/curl.raw`,
      `file://${local('none')}`
    ])

    expect(wrong.exitCode).toBe(67)
    expect(anonymous.exitCode).toBe(1)
    expect(anonymous.stderr).toMatch(/530 /)
  })

  testWith(['curl', 'globus-url-copy'], 'lets a reader change nothing', async () => {
    const stored = await run('globus-url-copy', [
      `file://${local('image')}`,
      url('reader', '/mine.raw')
    ])
    const removed = await run('curl', ['-sS', '-Q', 'DELE /curl.raw', url('reader', '/')])

    expect([stored.exitCode, removed.exitCode]).toEqual([1, 21])
    expect(stored.stderr).toMatch(/550 You may not change anything here/)
    expect(await server.readFile('/home/ada/mine.raw')).toBeUndefined()
  })
})
