import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import { BlobDsi } from '../../src/gridftp/blob-dsi.ts'
import { GridFtpStage } from '../support/gridftp-stage.ts'
import { openData, type RawFtp, readAll } from '../support/raw-ftp.ts'
import { startTestRepository, type TestRepository } from '../support/repository.ts'

const NAMES = [
  'two words',
  ' blank in front',
  'blank behind ',
  '  many   blanks  ',
  'tab\tinside',
  '"quoted"',
  "it's",
  'ünï 日本 🚀',
  'e\u0301 is not é',
  '-la',
  '--help',
  '-',
  '@',
  'user@host',
  '@3x',
  'name@',
  '%41%2F',
  'a;b=c',
  'Type=file; x',
  '*?[a-z]{b}',
  '$HOME `id` | true',
  '...',
  'back\\slash',
  '20200102030405',
  'x'.repeat(255),
  'ü'.repeat(127)
]

let bench: TestRepository
let stage: GridFtpStage
let raw: RawFtp
let user = { name: 'ada', root: '/home/0', mayWrite: true }
beforeAll(async () => {
  bench = await startTestRepository()
  stage = await GridFtpStage.open({
    storage: new BlobDsi(bench.repository, user),
    authenticator: { authenticate: async () => user }
  })
})
beforeEach(async () => {
  user = { ...user, root: `${user.root}1` }
  await bench.repository.makeDirectory(user.root, { parents: true })
  raw = await stage.login()
})
afterAll(async () => {
  await stage[Symbol.asyncDispose]()
  await bench.stop()
})

async function store(name: string, text: string): Promise<string> {
  const data = await openData(await raw.passive())
  data.end(text)
  await raw.command(`STOR ${name}`)
  return await raw.reply()
}

async function fetch(command: string): Promise<string> {
  const data = await openData(await raw.passive())
  const [, content] = await Promise.all([raw.command(command), readAll(data)])
  await raw.reply()
  return content.toString()
}

describe('a name with anything in it', () => {
  test.each(NAMES)('is the same in every command and listing: %j', async (name) => {
    expect(await store(name, 'content')).toMatch(/^226 /)

    expect(await fetch(`RETR ${name}`)).toBe('content')
    expect(await raw.command(`SIZE ${name}`)).toBe('213 7')
    expect(await raw.command(`MDTM ${name}`)).toMatch(/^213 \d{14}$/)
    expect(await raw.command(`MLST ${name}`)).toContain(`; ${name}\n`)
    expect((await fetch('MLSD')).split('\r\n').at(-2)).toMatch(/^Type=file;Size=7;.*; /)
    expect(await fetch('MLSD')).toContain(`; ${name}\r\n`)
    expect(await fetch('NLST')).toBe(`${name}\r\n`)
    expect(await fetch('LIST')).toMatch(/^-rw.*\r\n$/)
    expect(await fetch(`LIST ${name}`)).toContain(` ${name}\r\n`)
    expect(await raw.command(`RNFR ${name}`)).toMatch(/^350 /)
    expect(await raw.command('RNTO plain')).toBe('250 OK.')
    expect(await raw.command('RNFR plain')).toMatch(/^350 /)
    expect(await raw.command(`RNTO ${name}`)).toBe('250 OK.')
    expect(await raw.command(`DELE ${name}`)).toBe('250 OK.')

    const quoted = name.replaceAll('"', '""')
    expect(await raw.command(`MKD ${name}`)).toContain(`257 "/${quoted}" `)
    expect(await raw.command(`CWD ${name}`)).toMatch(/^250 /)
    expect(await raw.command('PWD')).toBe(`257 "/${quoted}" is current directory.`)
    expect(await store('inside', 'x')).toMatch(/^226 /)
    expect(await raw.command('CDUP')).toMatch(/^250 /)
    expect(await fetch(`NLST ${name}`)).toBe('inside\r\n')
    expect(await raw.command(`RMD ${name}`)).toMatch(/^550 /)
    expect(await raw.command(`DELE ${name}/inside`)).toBe('250 OK.')
    expect(await raw.command(`RMD ${name}`)).toBe('250 OK.')
    expect(await fetch('NLST')).toBe('')
  })

  test('is refused where it cannot be, and the session goes on', async () => {
    const refused = [
      ['x'.repeat(256), 553],
      ['ü'.repeat(128), 553],
      [`${'long/'.repeat(900)}x`, 553],
      ['image@3', 550],
      ['@3', 550]
    ] as const

    for (const [name, code] of refused) {
      await raw.passive()
      expect(await raw.command(`STOR ${name}`)).toMatch(new RegExp(`^${code} `))
      expect(await raw.command(`MKD ${name}`)).toMatch(new RegExp(`^${code} `))
    }
    expect(await raw.command(`SIZE a\u0000b`)).toMatch(/^500 /)
    expect(await raw.command(`SIZE a\rb`)).toMatch(/^500 /)
    expect(await store('fine', 'x')).toMatch(/^226 /)
    expect(await fetch('NLST')).toBe('fine\r\n')
  })

  test('has no line break, whoever makes it', async () => {
    for (const name of ['two\nlines', 'two\r\nlines', 'ends\r']) {
      const making = bench.repository.makeDirectory(`${user.root}/${name}`)
      await expect(making).rejects.toMatchObject({ code: 'ERR_INVALID_PATH' })
    }
  })

  test('is a switch of LIST only where nothing has it', async () => {
    await store('file', 'x')

    expect(await fetch('LIST -la')).toContain(' file\r\n')
    expect(await fetch('NLST -l1 file')).toBe('file\r\n')
    await raw.command('MKD -la')
    expect(await fetch('NLST -la')).toBe('')
  })
})

describe('RNTO over what is there', () => {
  test('replaces a file by a file, and nothing else', async () => {
    await store('new', 'new')
    await store('old', 'old content')
    await raw.command('MKD folder')
    const rename = async (from: string, to: string): Promise<string> => {
      expect(await raw.command(`RNFR ${from}`)).toMatch(/^350 /)
      return await raw.command(`RNTO ${to}`)
    }

    expect(await rename('new', 'old')).toBe('250 OK.')
    expect(await fetch('RETR old')).toBe('new')
    expect(await raw.command('SIZE new')).toMatch(/^550 /)
    expect(await rename('old', 'folder')).toMatch(/^550 /)
    expect(await rename('folder', 'old')).toMatch(/^550 /)
    expect(await rename('folder', 'folder/inside')).toMatch(/^553 /)
    expect(await rename('old', 'no/where')).toMatch(/^550 /)
    expect(await rename('old', 'old@1')).toMatch(/^550 /)
    expect(await rename('old', 'old')).toBe('250 OK.')
    expect(await fetch('NLST')).toBe('folder\r\nold\r\n')
  })
})

describe('versions', () => {
  test('are read by name, with their own facts, and cannot be changed', async () => {
    await store('image', 'first')
    await store('image', 'second one')

    expect(await fetch('RETR image@1')).toBe('first')
    expect(await fetch('RETR image')).toBe('second one')
    expect(await raw.command('SIZE image@1')).toBe('213 5')
    expect(await raw.command('MLST image@1')).toMatch(/Size=5;.*Perm=r;.* image@1\n/)
    expect(await raw.command('SIZE image@3')).toMatch(/^550 /)
    expect(await fetch('NLST')).toBe('image\r\n')
    await raw.passive()
    expect(await raw.command('STOR image@1')).toMatch(/^550 /)
    expect(await raw.command('APPE image@1')).toMatch(/^550 /)
    expect(await raw.command('RNFR image@1')).toMatch(/^350 /)
    expect(await raw.command('RNTO other')).toMatch(/^550 /)
    expect(await raw.command('MFMT 20200102030405 image@1')).toMatch(/^550 /)
    expect(await raw.command('DELE image@1')).toBe('250 OK.')
    expect(await raw.command('SIZE image@1')).toMatch(/^550 /)
    expect(await fetch('RETR image')).toBe('second one')
  })

  test('that are being read stay as they are while a new one takes their place', async () => {
    const before = Buffer.alloc(3_000_000, 'before ')
    await store('image', before.toString())
    const data = await openData(await raw.passive())
    data.pause()
    expect(await raw.command('RETR image')).toMatch(/^150 /)
    const other = await stage.login()

    const incoming = await openData(await other.passive())
    incoming.end('after')
    await other.command('STOR image')
    expect(await other.reply()).toMatch(/^226 /)
    expect(await other.command('SIZE image')).toBe('213 5')
    const reading = readAll(data)
    data.resume()
    const content = await reading

    expect(content.equals(before)).toBe(true)
    expect(await raw.reply()).toMatch(/^226 /)
    expect(await fetch('RETR image')).toBe('after')
  })
})
