import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { systemClock } from '../../src/lib/clock.ts'
import { MalformedError } from '../../src/lib/errors.ts'
import { Authority } from '../../src/peer/authority.ts'
import { type ListNumbers, Membership } from '../../src/peer/membership.ts'
import {
  answerHello,
  askToJoin,
  askToRenew,
  HELLO,
  type HelloComponents,
  sayHello
} from '../../src/peer/protocols/hello.ts'
import type { Channel } from '../../src/peer/types.ts'
import { channelPair, testMember } from '../support/channel-pair.ts'
import { ALL_RIGHTS, DEPLOYER, nextMessage } from '../support/peer-cluster.ts'

const authority = new Authority(new Uint8Array(32).fill(1), systemClock)
const { clusterId } = authority

function memberComponents(peerId: string): HelloComponents {
  const membership = new Membership(peerId, systemClock)
  membership.enter({ clusterId, certificate: authority.issue(peerId, ALL_RIGHTS) })
  return { membership, addresses: () => ['/ip4/127.0.0.1/tcp/1'], agentVersion: '1.2.3' }
}

function channels(): [Channel, Channel] {
  return channelPair(testMember('asker'), testMember('answerer'), HELLO)
}

const token = {
  clusterId,
  addresses: [],
  secret: new Uint8Array(32).fill(9),
  expiresMs: Number.MAX_SAFE_INTEGER
}

test('shows each side what the other is', async () => {
  const [asking, answering] = channels()
  const asker = memberComponents('asker')
  const answerer = memberComponents('answerer')
  let admitted: string | undefined

  const [greeting] = await Promise.all([
    sayHello(asking, asker),
    answerHello(answering, answerer, (shown) => {
      admitted = answerer.membership.admit('asker', shown).member.peerId
    })
  ])

  expect(admitted).toBe('asker')
  expect(asker.membership.admit('answerer', greeting).member.peerId).toBe('answerer')
  expect(greeting.addresses).toEqual(['/ip4/127.0.0.1/tcp/1'])
})

const REVOKED = { peerId: 'somebody', atMs: 1, untilMs: 2, reason: 'gone' }

/** One hello. @returns what the asker knows of the answerer then. */
async function greet(asker: HelloComponents, answerer: HelloComponents, theirs?: ListNumbers) {
  const [asking, answering] = channels()
  const [greeting] = await Promise.all([
    sayHello(asking, asker, theirs),
    answerHello(answering, answerer, (shown) => {
      answerer.membership.admit('asker', shown)
    })
  ])
  return { greeting, ...asker.membership.admit('answerer', greeting) }
}

test('brings the lists that the asker lacks with the answer', async () => {
  const asker = memberComponents('asker')
  const answerer = memberComponents('answerer')
  answerer.membership.offerMetadataList(authority.signMetadataList(3, []))
  answerer.membership.offerRevocations(authority.signRevocations(2, [REVOKED]))

  await greet(asker, answerer)

  expect(asker.membership.known).toEqual({ metadata: 3, revocations: 2 })
  expect(asker.membership.revocations?.revoked).toEqual([REVOKED])
})

test('brings the lists that the answerer lacks with the next question', async () => {
  const asker = memberComponents('asker')
  const answerer = memberComponents('answerer')
  asker.membership.offerMetadataList(authority.signMetadataList(3, []))
  asker.membership.offerRevocations(authority.signRevocations(2, [REVOKED]))

  const { known } = await greet(asker, answerer)
  expect(answerer.membership.known).toEqual({ metadata: 0, revocations: 0 })
  await greet(asker, answerer, known)

  expect(answerer.membership.known).toEqual({ metadata: 3, revocations: 2 })
})

test('repeats no list that both know', async () => {
  const [asker, answerer] = [memberComponents('asker'), memberComponents('answerer')]
  const list = authority.signMetadataList(3, [])
  asker.membership.offerMetadataList(list)
  answerer.membership.offerMetadataList(list)

  const { greeting } = await greet(asker, answerer)

  expect(greeting.metadataList).toBeUndefined()
  expect(greeting.metadataNumber).toBe(3)
})

describe('a renewal', () => {
  const { certificate } = memberComponents('asker').membership.documents()

  test('gives a newer certificate to a member', async () => {
    const [asking, answering] = channels()
    const newer = authority.issue('asker', DEPLOYER)
    const issuer = { redeem: async () => newer, renew: async () => newer }

    const [renewed] = await Promise.all([
      askToRenew(asking, { clusterId, certificate }),
      answerHello(answering, { ...memberComponents('answerer'), issuer }, () => {})
    ])

    expect(renewed).toEqual(newer)
  })

  test('is refused with its reason, and the asker stays what it is', async () => {
    const [asking, answering] = channels()
    const answered = answerHello(answering, memberComponents('answerer'), () => {})

    const asked = askToRenew(asking, { clusterId, certificate })

    await expect(asked).rejects.toThrow('this agent issues no certificates')
    await asking.close()
    await expect(answered).resolves.toBeUndefined()
  })
})

test('tells the asker why it was refused', async () => {
  const [asking, answering] = channels()
  const answered = answerHello(answering, memberComponents('answerer'), () => {
    throw new Error('I do not like you')
  })

  const asked = sayHello(asking, memberComponents('asker'))

  await expect(asked).rejects.toThrow('I do not like you')
  await asking.close()
  await expect(answered).rejects.toThrow('I do not like you')
})

test('gives a certificate for a token', async () => {
  const [asking, answering] = channels()
  const issuer = {
    redeem: async (_secret: Uint8Array, peerId: string) => authority.issue(peerId, DEPLOYER),
    renew: async (certificate: Uint8Array) => certificate
  }

  const [certificate] = await Promise.all([
    askToJoin(asking, token),
    answerHello(answering, { ...memberComponents('answerer'), issuer }, () => {})
  ])

  const joined = new Membership('asker', systemClock).enter({ clusterId, certificate })
  expect(joined.roles).toEqual(new Set(['deploy']))
})

test('refuses a token of another cluster before its secret is looked at', async () => {
  const [asking, answering] = channels()
  const secrets: Uint8Array[] = []
  const issuer = {
    redeem: async (secret: Uint8Array) => {
      secrets.push(secret)
      return new Uint8Array()
    },
    renew: async (certificate: Uint8Array) => certificate
  }
  const answered = answerHello(answering, { ...memberComponents('answerer'), issuer }, () => {})

  const asked = askToJoin(asking, { ...token, clusterId: new Uint8Array(32) })

  await expect(asked).rejects.toMatchObject({ code: 'ERR_JOIN_REFUSED' })
  await asking.close()
  await expect(answered).rejects.toThrow('another cluster')
  expect(secrets).toEqual([])
})

test('refuses any other bytes', async () => {
  const components = memberComponents('answerer')
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
      const [asking, answering] = channels()
      await asking.send([bytes])
      const answered = answerHello(answering, components, () => {})
      const [answer] = await Promise.all([nextMessage(asking), asking.close()])
      await expect(answered).rejects.toBeInstanceOf(MalformedError)
      expect(Buffer.from(answer ?? []).toString('latin1')).toContain('refused')
    }),
    { numRuns: 50 }
  )
})
