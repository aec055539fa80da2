import { describe, expect, test } from '@jest/globals'
import { BadRequestError, UnknownMemberError } from '../../../src/agent/errors.ts'
import type { ListedMember } from '../../../src/agent/operations.ts'
import { commandLineStage } from '../../support/command-line-stage.ts'

const stage = commandLineStage()

const member: ListedMember = {
  peerId: 'peer-1',
  roles: ['deploy'],
  rights: ['read'],
  standing: 'valid',
  isConnected: true,
  admitted: '2026-11-22T08:15:00.000Z',
  certificateUntil: '2026-12-22T08:15:00.000Z'
}
const revoked: ListedMember = {
  ...member,
  peerId: 'peer-2',
  standing: 'revoked',
  isConnected: false,
  revoked: '2026-11-23T08:15:00.000Z',
  reason: 'stolen'
}

describe('blobswarm members', () => {
  test('shows who was admitted, and who was revoked since', async () => {
    stage.operations.members = async () => [member, revoked]

    expect(await stage.run('members')).toBe(0)

    expect(stage.stdout).toBe(`\
peer    roles   rights  standing                              connected  admitted              until
peer-1  deploy  read    valid                                 yes        2026-11-22 08:15:00Z  2026-12-22 08:15:00Z
peer-2  deploy  read    revoked 2026-11-23 08:15:00Z, stolen  no         2026-11-22 08:15:00Z  2026-12-22 08:15:00Z
`)
  })

  test('--json shows all that is known', async () => {
    stage.operations.members = async () => [revoked]

    expect(await stage.run('members', '--json')).toBe(0)

    expect(JSON.parse(stage.stdout)).toEqual([revoked])
  })
})

describe('blobswarm revoke', () => {
  test('passes on whom and why', async () => {
    expect(await stage.run('revoke', 'peer-2', '--reason', 'stolen & sold')).toBe(0)

    expect(stage.operations.calls).toEqual([['revoke', 'peer-2', 'stolen & sold']])
    expect(stage.stdout).toBe('peer-2 is revoked\n')
  })

  test.each([
    [3, new UnknownMemberError('peer-9')],
    [2, new BadRequestError('2 members begin with peer')]
  ])('exits with %i when it is refused', async (code, error) => {
    stage.operations.revoke = async () => {
      throw error
    }

    expect(await stage.run('revoke', 'peer')).toBe(code)

    expect(stage.stderr).toBe(`blobswarm: ${error.message}\n`)
  })

  test('needs a peer', async () => {
    expect(await stage.run('revoke')).toBe(2)
  })
})

describe('blobswarm token', () => {
  test('list shows what can still be joined with', async () => {
    const token = { id: 'ab12', roles: ['deploy'], rights: ['read'], expires: member.admitted }
    stage.operations.tokens = async () => [token]

    expect(await stage.run('token', 'list')).toBe(0)

    expect(stage.stdout).toBe(`\
id    roles   rights  until
ab12  deploy  read    2026-11-22 08:15:00Z
`)
  })

  test('revoke takes one back', async () => {
    expect(await stage.run('token', 'revoke', 'ab12')).toBe(0)

    expect(stage.operations.calls).toEqual([['revokeToken', 'ab12']])
    expect(stage.stdout).toBe('nobody can join with ab12 any more\n')
  })

  test.each([['revoke'], ['create', 'x'], ['list', 'x'], ['forget']])(
    '%s %s is no such command',
    async (...words) => {
      expect(await stage.run('token', ...words)).toBe(2)
    }
  )
})
