import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { BlobDsi } from '../../src/gridftp/blob-dsi.ts'
import type { FtpUser, OpenWriteOptions } from '../../src/gridftp/dsi.ts'
import { Quotas } from '../../src/gridftp/quotas.ts'
import { GridFtpStage } from '../support/gridftp-stage.ts'
import { openData, untilClosed } from '../support/raw-ftp.ts'
import { startTestRepository, type TestRepository } from '../support/repository.ts'

const QUOTA = 1_000_000
const ADA: FtpUser = { name: 'ada', root: '/home/ada', mayWrite: true, quotaBytes: QUOTA }
const ADMIN: FtpUser = { name: 'admin', root: '/', mayWrite: true }

let bench: TestRepository
let quotas: Quotas
beforeEach(async () => {
  bench = await startTestRepository()
  quotas = newQuotas()
})
afterEach(async () => await bench.stop())

function newQuotas(): Quotas {
  return new Quotas(async (root) => (await bench.repository.usage(root)).bytes)
}

function storageOf(user: FtpUser, of = quotas): BlobDsi {
  return new BlobDsi(bench.repository, user, of)
}

async function store(
  storage: BlobDsi,
  path: string,
  bytes: number,
  options: Partial<OpenWriteOptions> = {}
): Promise<void> {
  const upload = await storage.openWrite(path, { mode: 'replace', ...options })
  try {
    await upload.write(0, Buffer.alloc(bytes, path))
    await upload.publish()
  } finally {
    await upload.abort()
  }
}

const exceeded = { code: 'ERR_FTP_QUOTA', quotaBytes: QUOTA }

describe('a quota', () => {
  test('is on the newest versions of what is below the root, whoever stored it', async () => {
    const storage = storageOf(ADA)
    await store(storageOf(ADMIN), '/home/ada/theirs', 300_000)
    await store(storageOf(ADMIN), '/elsewhere', 5_000_000)
    await store(storage, '/home/ada/mine', 700_000)

    await expect(store(storage, '/home/ada/more', 1)).rejects.toMatchObject({
      ...exceeded,
      usedBytes: QUOTA,
      message: expect.stringContaining('quota of 1000000 bytes exceeded, 1000000 are used')
    })
    await store(storage, '/home/ada/mine', 100_000)
    await store(storage, '/home/ada/mine', 700_000)
    await store(storageOf(ADMIN), '/home/ada/theirs', 400_000)
    await expect(store(storage, '/home/ada/more', 1)).rejects.toMatchObject(exceeded)
    await storage.removeFile('/home/ada/theirs')
    await store(storage, '/home/ada/more', 300_000)
    expect(await storage.stat('/home/ada/more')).toMatchObject({ bytes: 300_000 })
  })

  test('counts what an append or a patch adds', async () => {
    const storage = storageOf(ADA)
    await store(storage, '/home/ada/log', 600_000)

    await store(storage, '/home/ada/log', 400_000, { mode: 'append' })
    await store(storage, '/home/ada/log', QUOTA, { mode: 'patch' })

    const append = store(storage, '/home/ada/log', 1, { mode: 'append' })
    await expect(append).rejects.toMatchObject(exceeded)
    const patch = store(storage, '/home/ada/log', QUOTA + 1, { mode: 'patch' })
    await expect(patch).rejects.toMatchObject(exceeded)
  })

  test('refuses what was announced before anything is sent', async () => {
    const opening = storageOf(ADA).openWrite('/home/ada/big', {
      mode: 'replace',
      expectedBytes: QUOTA + 1
    })

    await expect(opening).rejects.toMatchObject(exceeded)
    await store(storageOf(ADA), '/home/ada/fits', QUOTA, { expectedBytes: QUOTA })
  })

  test('is not taken twice by uploads at the same time, and given back by those that end', async () => {
    const open = async (path: string) =>
      await storageOf(ADA).openWrite(path, { mode: 'replace', expectedBytes: 600_000 })
    const first = await open('/home/ada/first')

    await expect(open('/home/ada/second')).rejects.toMatchObject(exceeded)
    await first.abort()
    await first.abort()
    const second = await open('/home/ada/second')

    await second.write(0, Buffer.alloc(600_000, 'x'))
    await second.publish()
    await expect(open('/home/ada/third')).rejects.toMatchObject(exceeded)
    await store(storageOf(ADA), '/home/ada/rest', 400_000)
  })

  test('is looked at again before an upload is published, because of other agents', async () => {
    const upload = await storageOf(ADA).openWrite('/home/ada/here', { mode: 'replace' })
    await upload.write(0, Buffer.alloc(600_000, 'x'))
    await store(storageOf(ADA, newQuotas()), '/home/ada/there', 600_000)

    await expect(upload.publish()).rejects.toMatchObject(exceeded)

    await upload.abort()
    expect(await storageOf(ADA).stat('/home/ada/here')).toBeUndefined()
    await store(storageOf(ADA), '/home/ada/here', 400_000)
  })
})

describe('an upload beyond a quota', () => {
  test('is refused early, or broken off, and the session goes on', async () => {
    const user = { ...ADA, root: '/' }
    const storage = storageOf(user)
    const authenticator = { authenticate: async () => user }
    await using stage = await GridFtpStage.open({ storage, authenticator })
    const raw = await stage.login()

    await raw.command('ALLO 2000000')
    await raw.passive()
    expect(await raw.command('STOR announced')).toMatch(/^552 \/announced: quota of 1000000 bytes/)
    const data = await openData(await raw.passive())
    expect(await raw.command('STOR endless')).toMatch(/^150 /)
    const flood = setInterval(() => data.write(Buffer.alloc(500_000, 'x')), 1)
    const answer = await raw.reply()
    await untilClosed(data)
    clearInterval(flood)

    expect(answer).toMatch(/^552 \/endless: quota of 1000000 bytes exceeded, 0 are used/)
    expect(await raw.command('SIZE endless')).toMatch(/^550 /)
    const again = await openData(await raw.passive())
    again.end('fits')
    await raw.command('STOR small')
    expect(await raw.reply()).toMatch(/^226 /)
  })
})
