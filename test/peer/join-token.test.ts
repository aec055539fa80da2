import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { toHex } from '../../src/lib/bytes.ts'
import { MalformedError } from '../../src/lib/errors.ts'
import { Authority } from '../../src/peer/authority.ts'
import { JoinRefusedError } from '../../src/peer/errors.ts'
import { formatJoinToken, type JoinToken, parseJoinToken } from '../../src/peer/join-token.ts'
import { TokenIssuer } from '../../src/peer/token-issuer.ts'
import { FileTokenTable, MemoryTokenTable, type TokenTable } from '../../src/peer/token-table.ts'
import { ManualClock } from '../support/manual-clock.ts'

const ADDRESS = '/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWFagYbBJquDnWP9XHqPtJY5WnzYYZDWT7BJwNwQ7aCjVv'
const token: JoinToken = {
  clusterId: new Uint8Array(32).fill(1),
  addresses: [ADDRESS],
  secret: new Uint8Array(32).fill(2),
  expiresMs: 1234
}

describe('the text of a token', () => {
  test('is one line that says everything', () => {
    const line = formatJoinToken(token)

    expect(line).toMatch(/^bst1\.[A-Za-z0-9_-]+$/)
    expect(parseJoinToken(` ${line}\n`)).toEqual(token)
  })

  test.each([
    ['nothing', ''],
    ['another prefix', 'bst2.AAAA'],
    ['a cut end', formatJoinToken(token).slice(0, -4)],
    ['other characters', `${formatJoinToken(token)}!`],
    ['an address that says not whom', formatJoinToken({ ...token, addresses: ['/ip4/1.2.3.4'] })],
    ['far too much', `bst1.${'A'.repeat(9000)}`]
  ])('is refused when it has %s', (_name, line) => {
    expect(() => parseJoinToken(line)).toThrow(JoinRefusedError)
  })

  test('is refused when it is any other text', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(() => parseJoinToken(`bst1.${text}`)).toThrow(JoinRefusedError)
      })
    )
  })
})

const folders: string[] = []
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true })
})

async function tableFile(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'blobswarm-tokens-'))
  folders.push(folder)
  return join(folder, 'tokens.json')
}

function issuerOver(tokens: TokenTable) {
  const clock = new ManualClock()
  const authority = new Authority(new Uint8Array(32).fill(1), clock)
  const issuer = new TokenIssuer({ authority, tokens, clock })
  const create = async (): Promise<Uint8Array> => {
    const grant = { roles: ['deploy' as const], rights: ['read' as const] }
    const line = await issuer.create({ grant, validMs: 1000, addresses: [ADDRESS] })
    return parseJoinToken(line).secret
  }
  return { clock, issuer, create }
}

describe.each([
  ['in memory', async (): Promise<TokenTable> => new MemoryTokenTable()],
  ['in a file', async (): Promise<TokenTable> => FileTokenTable.open(await tableFile())]
])('tokens %s', (_name, open) => {
  test('work once, and again for the same peer with the same certificate', async () => {
    const { issuer, create } = issuerOver(await open())
    const secret = await create()

    const first = await issuer.redeem(secret, 'peer-1')
    const again = await issuer.redeem(secret, 'peer-1')

    expect(again).toEqual(first)
    await expect(issuer.redeem(secret, 'peer-2')).rejects.toThrow('used already')
  })

  test('go to one of two that come at the same time', async () => {
    const { issuer, create } = issuerOver(await open())
    const secret = await create()

    const results = await Promise.allSettled([
      issuer.redeem(secret, 'peer-1'),
      issuer.redeem(secret, 'peer-2')
    ])

    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected'])
  })

  test('expire, but not for who has used them', async () => {
    const { issuer, create, clock } = issuerOver(await open())
    const used = await create()
    const unused = await create()
    const certificate = await issuer.redeem(used, 'peer-1')

    clock.advance(1000)

    await expect(issuer.redeem(unused, 'peer-2')).rejects.toThrow('expired')
    expect(await issuer.redeem(used, 'peer-1')).toEqual(certificate)
  })

  test('must be known', async () => {
    const { issuer } = issuerOver(await open())

    const redeeming = issuer.redeem(new Uint8Array(32), 'peer-1')

    await expect(redeeming).rejects.toBeInstanceOf(JoinRefusedError)
  })
})

describe('the file of tokens', () => {
  test('is read back after a restart, and holds no secret', async () => {
    const path = await tableFile()
    const before = issuerOver(await FileTokenTable.open(path))
    const secret = await before.create()
    const certificate = await before.issuer.redeem(secret, 'peer-1')

    const after = issuerOver(await FileTokenTable.open(path))

    expect(await after.issuer.redeem(secret, 'peer-1')).toEqual(certificate)
    const text = await readFile(path, 'utf8')
    expect(text).not.toContain(toHex(secret))
    expect(text).not.toContain(Buffer.from(secret).toString('base64'))
  })

  test('forgets tokens that expired unused', async () => {
    const path = await tableFile()
    const { clock, create } = issuerOver(await FileTokenTable.open(path))
    await create()
    clock.advance(1000)

    await create()

    const { tokens } = JSON.parse(await readFile(path, 'utf8'))
    expect(tokens.length).toBe(1)
  })

  test('is refused when it is damaged', async () => {
    const path = await tableFile()
    await writeFile(path, '{"format":1,"tokens":[{}]}')

    await expect(FileTokenTable.open(path)).rejects.toBeInstanceOf(MalformedError)
  })

  test('does not take a change that cannot be written', async () => {
    const path = await tableFile()
    const { issuer, create } = issuerOver(await FileTokenTable.open(path))
    const secret = await create()
    await rm(join(path, '..'), { recursive: true })

    await expect(issuer.redeem(secret, 'peer-1')).rejects.toMatchObject({ code: 'ENOENT' })

    folders.length = 0
  })
})
