import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { firstOf, type LoginAttempt, LoopbackAnonymous, UsersFile } from '../../src/gridftp/auth.ts'
import { hashPassword, isPassword, parsePasswordHash } from '../../src/gridftp/password.ts'
import { formatUserLine, parseUsersFile } from '../../src/gridftp/users-file.ts'

const CHEAP = { N: 16, r: 1, p: 1 }
const attempt = (name: string, password = '', isLoopback = true): LoginAttempt => ({
  name,
  password,
  isLoopback,
  address: isLoopback ? '127.0.0.1' : '192.0.2.1'
})

describe('passwords', () => {
  test('the right one is known again, any other is not', async () => {
    const hash = parsePasswordHash(await hashPassword('sesam öffne dich', CHEAP))

    expect(hash).toMatchObject(CHEAP)
    if (hash === undefined) return
    expect(await isPassword('sesam öffne dich', hash)).toBe(true)
    expect(await isPassword('sesam', hash)).toBe(false)
    expect(await isPassword('', hash)).toBe(false)
  })

  test('the same one never has the same hash twice', async () => {
    expect(await hashPassword('x', CHEAP)).not.toBe(await hashPassword('x', CHEAP))
  })

  test('an endless password is refused without work, even where the empty one is right', async () => {
    const hash = parsePasswordHash(await hashPassword('', CHEAP))

    expect(hash).toBeDefined()
    if (hash === undefined) return
    expect(await isPassword('x'.repeat(5000), hash)).toBe(false)
    await expect(hashPassword('x'.repeat(5000))).rejects.toThrow(RangeError)
  })

  test.each([
    ['another method', 'bcrypt$16$1$1$c2FsdHNhbHQ=$aGFzaGhhc2hoYXNoaGFzaA=='],
    ['N that is no power of two', 'scrypt$15$1$1$c2FsdHNhbHQ=$aGFzaGhhc2hoYXNoaGFzaA=='],
    ['a cost of a gigabyte', 'scrypt$1048576$8$1$c2FsdHNhbHQ=$aGFzaGhhc2hoYXNoaGFzaA=='],
    ['a short hash', 'scrypt$16$1$1$c2FsdHNhbHQ=$aGFz'],
    ['no salt', 'scrypt$16$1$1$$aGFzaGhhc2hoYXNoaGFzaA==']
  ])('a hash with %s is none', (_name, text) => {
    expect(parsePasswordHash(text)).toBeUndefined()
  })
})

describe('the file of users', () => {
  const HASH = 'scrypt$16$1$1$c2FsdHNhbHQ=$aGFzaGhhc2hoYXNoaGFzaA=='

  test('has one user a line, and comments', () => {
    const users = parseUsersFile(`# people\n\nada:${HASH}:/:rw\r\nbob:${HASH}:/images/bob:r\n`)

    expect([...users.values()].map(({ user }) => user)).toEqual([
      { name: 'ada', root: '/', mayWrite: true },
      { name: 'bob', root: '/images/bob', mayWrite: false }
    ])
  })

  test('a formatted line is parsed to the same user', () => {
    const user = { name: 'ada@lab', root: '/a b', mayWrite: true }

    for (const same of [user, { ...user, quotaBytes: 1_234_567 }]) {
      expect(parseUsersFile(formatUserLine(same, HASH)).get('ada@lab')?.user).toEqual(same)
    }
  })

  test('may say how much a user can store', () => {
    const quotas = ['0', '1000', '1K', '20M', '3G', '4T'].map(
      (quota, at) => `user${at}:${HASH}:/:rw:${quota}`
    )

    const users = [...parseUsersFile(quotas.join('\n')).values()]

    expect(users.map(({ user }) => user.quotaBytes)).toEqual([
      0,
      1000,
      1024,
      20 * 1024 ** 2,
      3 * 1024 ** 3,
      4 * 1024 ** 4
    ])
  })

  test.each([
    ['too few fields', `ada:${HASH}:/`],
    ['a name that would be a field', `a:da:${HASH}:/:rw`],
    ['an odd name', `-ada:${HASH}:/:rw`],
    ['no hash', 'ada:secret:/:rw'],
    ['a relative root', `ada:${HASH}:images:rw`],
    ['a root that goes up', `ada:${HASH}:/a/../..:rw`],
    ['other rights', `ada:${HASH}:/:w`],
    ['no quota', `ada:${HASH}:/:rw:`],
    ['a quota that is no number', `ada:${HASH}:/:rw:1.5G`],
    ['a quota beyond all numbers', `ada:${HASH}:/:rw:9999999999T`],
    ['too many fields', `ada:${HASH}:/:rw:1G:x`],
    ['a user twice', `ada:${HASH}:/:r\nada:${HASH}:/:rw`]
  ])('with %s is refused as a whole, naming the line', (_name, text) => {
    expect(() => parseUsersFile(`ok:${HASH}:/:r\n${text}`)).toThrow(
      expect.objectContaining({
        code: 'ERR_FTP_USERS_FILE',
        message: expect.stringMatching(/^line [23]: /)
      })
    )
  })

  test('never repeats a hash in its error', () => {
    expect(() => parseUsersFile(`ada:${HASH}:images:rw`)).toThrow(
      expect.not.objectContaining({ message: expect.stringContaining('scrypt') })
    )
  })
})

describe('logging in', () => {
  let folder = ''
  let file = ''
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'blobswarm-users-'))
    file = join(folder, 'users')
    const user = { name: 'ada', root: '/ada', mayWrite: false }
    await writeFile(file, `${formatUserLine(user, await hashPassword('right', CHEAP))}\n`)
  })
  afterEach(async () => await rm(folder, { recursive: true }))

  test('needs the right name and the right password', async () => {
    const users = new UsersFile(file)

    expect(await users.authenticate(attempt('ada', 'right'))).toMatchObject({ root: '/ada' })
    expect(await users.authenticate(attempt('ada', 'wrong'))).toBeUndefined()
    expect(await users.authenticate(attempt('bob', 'right'))).toBeUndefined()
    expect(await users.authenticate(attempt('ADA', 'right'))).toBeUndefined()
  })

  test('sees changes of the file at once', async () => {
    const users = new UsersFile(file)
    await writeFile(file, '')

    expect(await users.authenticate(attempt('ada', 'right'))).toBeUndefined()
  })

  test('fails clearly without the file', async () => {
    const users = new UsersFile(join(folder, 'nothing'))

    await expect(users.authenticate(attempt('ada'))).rejects.toMatchObject({
      code: 'ERR_FTP_USERS_FILE'
    })
  })

  test('anonymous is for this machine only', async () => {
    const anonymous = new LoopbackAnonymous()
    const expected = { name: 'anonymous', root: '/', mayWrite: true }

    expect(await anonymous.authenticate(attempt('anonymous', 'a@b'))).toEqual(expected)
    expect(await anonymous.authenticate(attempt('ftp'))).toEqual(expected)
    expect(await anonymous.authenticate(attempt(':globus-mapping:'))).toEqual(expected)
    expect(await anonymous.authenticate(attempt('root'))).toBeUndefined()
    expect(await anonymous.authenticate(attempt('anonymous', '', false))).toBeUndefined()
  })

  test('several ways are tried in order', async () => {
    const both = firstOf([new LoopbackAnonymous(), new UsersFile(file)])

    expect(await both.authenticate(attempt('ftp'))).toMatchObject({ name: 'anonymous' })
    expect(await both.authenticate(attempt('ada', 'right'))).toMatchObject({ name: 'ada' })
    expect(await both.authenticate(attempt('ada', 'wrong'))).toBeUndefined()
  })
})
