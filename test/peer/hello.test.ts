import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { systemClock } from '../../src/lib/clock.ts'
import { MalformedError } from '../../src/lib/errors.ts'
import { Authority } from '../../src/peer/authority.ts'
import { Membership } from '../../src/peer/membership.ts'
import {
  answerHello,
  askToJoin,
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
  asker.membership.offerMetadataList(authority.signMetadataList(3, []))
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
  expect(answerer.membership.metadataList?.number).toBe(3)
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
    redeem: async (_secret: Uint8Array, peerId: string) => authority.issue(peerId, DEPLOYER)
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
    }
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
