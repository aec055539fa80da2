import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { MalformedError } from '../../src/lib/errors.ts'
import {
  FileMemberRegister,
  MAX_REGISTERED,
  MemberRegister,
  type RegisteredMember
} from '../../src/peer/member-register.ts'
import { temporaryFolders } from '../support/temporary-folder.ts'

const newFolder = temporaryFolders()

function certificate(peerId: string, issuedMs: number, expiresMs = issuedMs + 1000) {
  return { peerId, roles: ['deploy'] as const, rights: ['read'] as const, issuedMs, expiresMs }
}

describe('the register of members', () => {
  test('keeps the newest certificate of each, and when the first was issued', async () => {
    const register = new MemberRegister()

    await register.note(certificate('b', 100))
    await register.note(certificate('a', 150))
    await register.note(certificate('b', 200))
    await register.note(certificate('b', 120))

    expect(register.list().map(({ peerId, issuedMs }) => [peerId, issuedMs])).toEqual([
      ['a', 150],
      ['b', 200]
    ])
    expect(register.find('b')).toMatchObject({ admittedMs: 100, expiresMs: 1200 })
  })

  test('forgets who could not even renew any more', async () => {
    const register = new MemberRegister()
    await register.note(certificate('old', 0, 1000))

    await register.note(certificate('new', 1999))
    expect(register.find('old')).toBeDefined()
    await register.note(certificate('newer', 2000))

    expect(register.find('old')).toBeUndefined()
  })

  test('is bounded: of too many the oldest go', async () => {
    const full = Array.from({ length: MAX_REGISTERED }, (_, at): RegisteredMember => {
      return { ...certificate(`peer ${at}`, at + 1, 1_000_000), admittedMs: 0 }
    })
    const register = new MemberRegister(full)

    await register.note(certificate('one more', 100_000, 200_000))

    expect(register.find('peer 0')).toBeUndefined()
    expect(register.list()).toHaveLength(MAX_REGISTERED)
  })

  test('is the same after a restart, however many came at once', async () => {
    const path = join(await newFolder(), 'members.json')
    const register = await FileMemberRegister.open(path)
    await Promise.all(
      Array.from({ length: 20 }, async (_, at) => register.note(certificate(`peer ${at}`, 5)))
    )

    const again = await FileMemberRegister.open(path)

    expect(again.list()).toEqual(register.list())
    expect(again.list()).toHaveLength(20)
  })

  test('says so when its file is damaged', async () => {
    const path = join(await newFolder(), 'members.json')
    await writeFile(path, '{"format":1,"members":[{}]}')

    await expect(FileMemberRegister.open(path)).rejects.toBeInstanceOf(MalformedError)
  })
})
