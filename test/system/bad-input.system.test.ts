import { execFile } from 'node:child_process'
import { readdir, readFile, readlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals'
import {
  type AgentProcess,
  blobswarmJson,
  PROGRAM,
  runBlobswarm
} from '../../experiments/support/agent-process.ts'
import { sha256File } from '../../experiments/support/image.ts'
import { uploadInBlocks } from '../../experiments/upload-memory/block-upload.ts'
import { sha256Blocks, TiledBytes } from '../../experiments/upload-memory/tiled-bytes.ts'
import { parseHostPort } from '../../src/agent/host-port.ts'
import type { StatResult } from '../../src/agent/operations.ts'
import { hashPassword } from '../../src/gridftp/password.ts'
import { KIB, MIB } from '../../src/lib/bytes.ts'
import type { AgentLog } from '../support/agent-log.ts'
import { Cluster } from '../support/cluster.ts'
import {
  beginStore,
  endBlocks,
  retrieveBytes,
  storeBytes,
  untilStored
} from '../support/ftp-upload.ts'
import { RunningProgram, testWith } from '../support/programs.ts'
import { block, openData, RawFtp, untilCutOff } from '../support/raw-ftp.ts'
import { sampleBytes, sha256 } from '../support/sample-bytes.ts'

const CHUNK_BYTES = 64 * KIB

jest.setTimeout(60_000)

let cluster: Cluster
let repository: AgentProcess
let hypervisor: AgentProcess
let log: AgentLog
let ftpPort: number
const sessions: RawFtp[] = []

beforeAll(async () => {
  cluster = await Cluster.create()
  const sizes = [`storage.chunkBytes=${CHUNK_BYTES}`, `storage.uploadBudgetBytes=${32 * MIB}`]
  repository = await cluster.startRepository(
    'repository',
    sizes.flatMap((size) => ['--set', size])
  )
  log = cluster.log('repository')
  ftpPort = parseHostPort(repository.ready.gridftp ?? '').port
  hypervisor = await cluster.startHypervisor(repository, 'hypervisor')
}, 60_000)
afterEach(() => {
  for (const session of sessions.splice(0)) session.close()
})
afterAll(async () => cluster.stop(), 30_000)

async function login(): Promise<RawFtp> {
  const raw = await RawFtp.login(ftpPort)
  sessions.push(raw)
  return raw
}

/** Nothing of an upload is to be seen, and nothing of it is left but what collection takes. */
async function expectNothingOf(path: string): Promise<void> {
  const raw = await login()
  expect(await raw.command(`SIZE ${path}`)).toMatch(/^550 /)
  expect(await readdir(join(repository.dataDir, 'staging'))).toEqual([])
  expect(await readdir(join(repository.dataDir, 'store', 'tmp'))).toEqual([])
}

describe('an upload that is cut', () => {
  const bytes = sampleBytes(4 * MIB)

  test.each(['S', 'E'] as const)('by a reset data connection in mode %s: 426', async (mode) => {
    const path = `/reset-${mode}.raw`
    const raw = await login()
    const data = await beginStore(raw, path, mode)
    data.write(mode === 'S' ? bytes : block(0, 0, bytes))
    await untilStored(raw, MIB)

    data.resetAndDestroy()

    expect(await raw.finalReply()).toMatch(/^426 Data connection /)
    expect(await raw.command('NOOP')).toMatch(/^200 /)
    await expectNothingOf(path)
  })

  test('by a data connection that ends in the middle of a block: 426', async () => {
    const raw = await login()
    const data = await beginStore(raw, '/half.raw', 'E')

    data.end(block(0, 0, bytes).subarray(0, MIB))

    expect(await raw.finalReply()).toMatch(/^426 Data connection ended inside a block/)
    await expectNothingOf('/half.raw')
  })

  test.each(['S', 'E'] as const)(
    'by a control connection that closes in mode %s, though all bytes came',
    async (mode) => {
      const path = `/closed-${mode}.raw`
      const raw = await login()
      const data = await beginStore(raw, path, mode)
      if (mode === 'S') data.write(bytes)
      else data.write(block(0, 0, bytes))
      await untilStored(raw, bytes.byteLength)

      // In mode E an end of file would say that the client is content, whatever becomes of its session.
      raw.socket.end()
      if (mode === 'S') data.end()

      await log.until(new RegExp(`STOR ${path} .*failed`))
      await expectNothingOf(path)
    }
  )

  testWith('curl', 'by kill -9 of curl, after whatever it has sent', async () => {
    for (const [round, length] of [0, 1, 100_000, 3_000_000, 3_000_000, 9_000_000].entries()) {
      const path = `/killed-${round}.raw`
      const url = `ftp://127.0.0.1:${ftpPort}${path}`
      const curl = new RunningProgram('curl', ['-v', '-T', '-', url], { keepsInputOpen: true })
      await curl.printed(/< 150 /)
      await curl.feed(bytes.subarray(0, length))

      curl.kill()

      await log.until(new RegExp(`STOR ${path} .*failed`))
      await expectNothingOf(path)
    }
  })
})

describe('a command line', () => {
  test.each([
    ['an unknown command', 'FROB the knob\r\n', /^500 FROB: unknown command/],
    ['no command at all', '\x01\x02\x03 %n%n\r\n', /^500 /],
    ['a NUL', 'MKD /a\0b\r\n', /^500 .*NUL/],
    ['5,000 characters', `MKD /${'x/'.repeat(2500)}\r\n`, /^553 .*exceeds 4096 bytes/],
    ['a name of 256 bytes', `MKD /${'é'.repeat(128)}\r\n`, /^553 .*exceeds 255 bytes/],
    ['invalid UTF-8', Buffer.from('MKD /\xc3\x28\r\n', 'latin1'), /^500 .*UTF-8/],
    ['half a surrogate pair', Buffer.from('MKD /\xed\xa0\x80\r\n', 'latin1'), /^500 .*UTF-8/],
    ['a version as target', 'STOR /name@3\r\n', /^550 \/name@3: .*versions/],
    ['1 MiB', `MKD /${'x'.repeat(MIB)}\r\n`, /^500 Line exceeds 8192 bytes/]
  ] as const)('with %s gets a reply, and the session goes on', async (_name, line, wanted) => {
    const raw = await login()

    raw.send(line)

    expect(await raw.reply()).toMatch(wanted)
    expect(await raw.command('PWD')).toMatch(/^257 "\/" /)
  })

  test('cannot leave the namespace, whichever way it climbs', async () => {
    const raw = await login()
    const outside = `escaped-${process.pid}`

    expect(await raw.command('CWD ../../..')).toMatch(/^250 /)
    expect(await raw.command('PWD')).toMatch(/^257 "\/"/)
    expect(await raw.command(`MKD ../../../../tmp/../${outside}`)).toBe(
      `257 "/${outside}" created.`
    )
    expect(await raw.command('SIZE /../../../../../../etc/passwd')).toMatch(/^550 /)
    expect(await raw.command('RETR ~/../../etc/passwd')).toMatch(/^(425|550) /)

    const entries = await blobswarmJson<{ path: string }[]>(repository.dataDir, ['ls', '/'])
    expect(entries.map(({ path }) => path)).toContain(`/${outside}`)
    expect(await readdir('/')).not.toContain(outside)
  })

  test.each([
    [['mkdir', '/../up'], 2],
    [['mkdir', `/${'x/'.repeat(2500)}`], 2],
    [['mkdir', 'not-absolute'], 2],
    [['stat', '/name@99999999999999999999'], 2],
    [['push', '/etc/hostname', '/name@3'], 2],
    [['rm', '/'], 2]
  ] as const)('of blobswarm that cannot be: %#', async (args, wanted) => {
    const { code, stderr } = await runBlobswarm(repository.dataDir, args)

    const lines = stderr.trim().split('\n').length
    expect({ code, lines, stderr }).toMatchObject({ code: wanted, lines: 1 })
  })
})

test.each(['S', 'E'] as const)(
  'a data connection from another address is cut off in mode %s; the transfer goes on',
  async (mode) => {
    const path = `/stranger-${mode}.raw`
    const [head, tail] = [sampleBytes(3 * MIB, 2), sampleBytes(MIB, 3)]
    const raw = await login()
    await raw.command(`MODE ${mode}`)
    const port = await raw.passive()
    await raw.command(`STOR ${path}`)

    await untilCutOff(port, '127.0.0.2')
    const data = await openData(port)
    data.write(mode === 'S' ? head : block(0, 0, head))
    await untilStored(raw, head.byteLength)
    await untilCutOff(port, '127.0.0.2')
    if (mode === 'S') data.end(tail)
    else endBlocks(data, tail, head.byteLength)

    expect(await raw.finalReply()).toMatch(/^226 /)
    const whole = Buffer.concat([head, tail])
    expect(sha256(await retrieveBytes(raw, path))).toBe(sha256(whole))
    await log.until(/data connection from 127\.0\.0\.2 refused: the client is 127\.0\.0\.1/)
  }
)

describe('sizes around a chunk', () => {
  const sizes = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1]
  const cases = sizes.flatMap((size) => [['S', size] as const, ['E', size] as const])

  test.each(cases)('mode %s, %d bytes: RETR, cat and pull give them back', async (mode, size) => {
    const path = `/sizes/${mode}-${size}.raw`
    const bytes = sampleBytes(size, size + 7)
    const target = cluster.file(`pulled-${mode}-${size}.raw`)
    const raw = await login()

    const stored = await storeBytes(raw, path, bytes, mode)
    const retrieved = await retrieveBytes(raw, path)
    const [printed] = await Promise.all([
      cat(hypervisor.dataDir, path),
      blobswarmJson(hypervisor.dataDir, ['pull', path, target])
    ])

    expect(stored).toMatch(/^226 /)
    expect(await raw.command(`SIZE ${path}`)).toBe(`213 ${size}`)
    expect(sha256(retrieved)).toBe(sha256(bytes))
    expect(sha256(printed)).toBe(sha256(bytes))
    expect(await sha256File(target)).toBe(sha256(bytes))
  })
})

/** What `blobswarm cat` prints, byte for byte. */
async function cat(dataDir: string, ref: string): Promise<Uint8Array> {
  const args = [PROGRAM, 'cat', ref, '--data-dir', dataDir]
  const { stdout } = await promisify(execFile)(process.execPath, args, { encoding: 'buffer' })
  return stdout
}

test.each(['backwards', 'scattered'] as const)(
  'blocks that come %s over 4 streams are put together byte for byte',
  async (order) => {
    const path = `/${order}.raw`
    const totalBytes = 64 * MIB
    const tiles = new TiledBytes(order.length)

    await uploadInBlocks({
      server: repository.ready.gridftp ?? '',
      path,
      totalBytes,
      blockBytes: 100_000,
      streams: 4,
      order,
      bytesAt: (offset, length) => tiles.at(offset, length)
    })

    const stat = await blobswarmJson<StatResult>(repository.dataDir, ['stat', path, '--sha256'])
    expect(stat).toMatchObject({ version: 1, bytes: totalBytes })
    expect(stat.sha256).toBe(sha256Blocks(tiles, totalBytes))
    expect(await readdir(join(repository.dataDir, 'staging'))).toEqual([])
    expect(await openFilesBelow('staging')).toEqual([])
  }
)

/** Files of a folder of the repository that its process has open, also those without a name. */
async function openFilesBelow(folder: string): Promise<string[]> {
  const descriptors = `/proc/${repository.ready.pid}/fd`
  const links = await Promise.all(
    (await readdir(descriptors)).map(async (name) =>
      readlink(join(descriptors, name)).catch(() => '')
    )
  )
  return links.filter((link) => link.startsWith(`${join(repository.dataDir, folder)}/`))
}

test('two first uploads to one path at once become versions 1 and 2', async () => {
  const path = '/twice/image.raw'
  const contents = [sampleBytes(2 * MIB + 5, 21), sampleBytes(3 * MIB, 22)]
  const uploads = await Promise.all(
    contents.map(async () => {
      const raw = await login()
      return { raw, data: await beginStore(raw, path, 'S') }
    })
  )

  for (const [index, { data }] of uploads.entries()) data.end(contents[index] ?? '')
  const replies = await Promise.all(uploads.map(async ({ raw }) => raw.finalReply()))

  expect(replies).toEqual([expect.stringMatching(/^226 /), expect.stringMatching(/^226 /)])
  const versions = await blobswarmJson<{ version: number }[]>(repository.dataDir, ['log', path])
  expect(versions.map(({ version }) => version)).toEqual([1, 2])
  const raw = await login()
  const stored = [await retrieveBytes(raw, `${path}@1`), await retrieveBytes(raw, `${path}@2`)]
  expect(stored.map(sha256).toSorted()).toEqual(contents.map(sha256).toSorted())
})

test('a wrong password is refused, the right one taken, and neither is ever logged', async () => {
  const password = 'correct horse battery'
  const users = cluster.file('users')
  await writeFile(users, `ada:${await hashPassword(password, { N: 1024 })}:/ada:rw\n`)
  const settings = [`gridftp.users=${users}`, 'gridftp.anonymous=off', 'agent.logLevel=trace']
  const guarded = await cluster.startRepository(
    'guarded',
    settings.flatMap((setting) => ['--set', setting])
  )
  const raw = await RawFtp.connect(parseHostPort(guarded.ready.gridftp ?? '').port)
  sessions.push(raw)
  await raw.reply()

  await raw.command('USER ada')
  expect(await raw.command('PASS incorrect horse')).toBe('530 Login incorrect.')
  expect(await raw.command('MKD /x')).toMatch(/^530 /)
  await raw.command('USER anonymous')
  expect(await raw.command('PASS me@')).toBe('530 Login incorrect.')
  await raw.command('USER ada')
  expect(await raw.command(`PASS ${password}`)).toBe('230 User ada logged in.')
  await raw.command('TYPE I')
  expect(await storeBytes(raw, '/../../own.raw', sampleBytes(1000))).toMatch(/^226 /)
  expect(await guarded.stop()).toBe(0)

  const lines = cluster.log('guarded').lines.join('\n')
  expect(lines).toMatch(/login of ada from 127\.0\.0\.1 refused/)
  expect(lines).toMatch(/login of ada from 127\.0\.0\.1 succeeded/)
  expect(lines).toMatch(/STOR \/own\.raw by ada/)
  expect(lines).not.toMatch(/horse|battery/)
  expect(await readFile(users, 'utf8')).not.toContain(password)
})
