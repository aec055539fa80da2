import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { DataDirectory } from '../../src/agent/data-directory.ts'
import {
  createToken,
  type EnterClusterRequest,
  enterCluster,
  openAuthority
} from '../../src/agent/membership.ts'
import { MetadataListKeeper } from '../../src/agent/metadata-list.ts'
import { type Clock, systemClock } from '../../src/lib/clock.ts'
import { MemoryLogger, noLogger } from '../../src/lib/logger.ts'
import { systemRandom } from '../../src/lib/random.ts'
import { Libp2pNode } from '../../src/peer/node.ts'
import type { Role } from '../../src/peer/types.ts'
import { temporaryFolders } from '../support/temporary-folder.ts'

const newFolder = temporaryFolders()
const DAY_MS = 24 * 3_600_000
const { signal } = new AbortController()

let folder: string
const stops: (() => Promise<void>)[] = []
beforeEach(async () => {
  folder = await newFolder()
})
afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop()
})

interface Start {
  readonly roles: readonly Role[]
  readonly joinToken?: string
  readonly listen?: string
  readonly clock?: Clock
}

/** An agent up to its membership: data directory, authority and node, not yet entered. */
async function prepare(name: string, start: Start) {
  const { roles, joinToken, listen, clock = systemClock } = start
  const data = new DataDirectory(join(folder, name))
  await data.open()
  const seed = await data.seed('agent.key', true)
  const authority = await openAuthority(data, { roles, joinToken }, clock)
  const common = { clock, random: systemRandom, logger: noLogger }
  const options = listen === undefined ? {} : { listen: [listen] }
  const issuer = authority?.issuer
  const node = await Libp2pNode.create({ ...common, issuer }, seed ?? new Uint8Array(), options)
  const stop = async (): Promise<void> => {
    await node.stop()
    await data.close()
  }
  stops.push(stop)
  const request: EnterClusterRequest = { data, node, roles, authority, joinToken, signal }
  return { data, node, authority, stop, enter: async () => enterCluster(request) }
}

async function enter(name: string, start: Start) {
  const agent = await prepare(name, start)
  await agent.enter()
  return agent
}

/** The first agent of a cluster, and what gives its tokens. */
async function beginCluster(
  roles: readonly Role[] = ['versionManager', 'metadata'],
  clock: Clock = systemClock
) {
  const first = await enter('first', { roles, clock })
  const token = async (granted: Role[] = ['deploy']): Promise<string> => {
    const addresses = first.node.addresses()
    const request = { roles: granted }
    return (await createToken(first.authority?.issuer, request, addresses, systemClock)).token
  }
  return { first, token }
}

/** An agent that comes back after this time to an authority that was there all along. */
async function stoppedFor(ms: number) {
  let skewMs = 0
  const clock = { ...systemClock, now: () => systemClock.now() + skewMs }
  const { first, token } = await beginCluster(['versionManager'], clock)
  const before = await enter('other', { roles: ['deploy'], joinToken: await token(), clock })
  await before.stop()
  skewMs = ms
  const { node } = first
  const certificate = first.authority?.authority.issue(node.peerId, { roles: [], rights: [] })
  const { clusterId } = node.membership.documents()
  node.membership.enter({ clusterId, certificate: certificate ?? new Uint8Array() })
  const again = await prepare('other', { roles: ['deploy'], clock })
  return { first, before, again }
}

describe('the first agent', () => {
  test('begins a cluster of its own, with every right', async () => {
    const { node, authority } = await enter('first', { roles: ['versionManager', 'deploy'] })

    const { self } = node.membership
    expect(node.membership.credentials().clusterId).toEqual(authority?.authority.clusterId)
    expect([...(self?.roles ?? [])].toSorted()).toEqual(['deploy', 'versionManager'])
    expect([...(self?.rights ?? [])].toSorted()).toEqual(['admin', 'read', 'write'])
  })

  test('has the same cluster and the same name after a restart, and other roles if they are asked', async () => {
    const before = await enter('first', { roles: ['versionManager'] })
    await before.stop()

    const after = await enter('first', { roles: ['versionManager', 'metadata'] })

    expect(after.node.peerId).toBe(before.node.peerId)
    expect(await after.data.cluster()).toEqual(await before.data.cluster())
    expect(after.node.membership.self?.roles.has('metadata')).toBe(true)
  })
})

describe('another agent', () => {
  test('without a token belongs to no cluster, and is told what it needs', async () => {
    const { data, enter: entering } = await prepare('other', { roles: ['deploy'] })

    await expect(entering()).rejects.toMatchObject({
      code: 'ERR_CONFIG',
      message: expect.stringContaining('--join TOKEN (blobswarm token create)')
    })
    expect(await data.certificate()).toBeUndefined()
  })

  test('joins with a token and keeps what it needs to come back', async () => {
    const { first, token } = await beginCluster()

    const { node, data } = await enter('other', { roles: ['deploy'], joinToken: await token() })

    expect(node.membership.credentials().clusterId).toEqual(first.authority?.authority.clusterId)
    expect([...(node.membership.self?.rights ?? [])]).toEqual(['read'])
    expect(await data.certificate()).toBeDefined()
    expect((await data.cluster())?.bootstrap).toEqual(first.node.addresses())
  })

  test('makes no cluster of its own with a token, though it could be a version manager', async () => {
    const { token } = await beginCluster()

    const joinToken = await token(['versionManager'])
    const { authority } = await enter('other', { roles: ['versionManager'], joinToken })

    expect(authority).toBeUndefined()
  })

  test('comes back with the same command line, whose token is used up', async () => {
    const { first, token } = await beginCluster()
    const start: Start = { roles: ['deploy'], joinToken: await token() }
    const before = await enter('other', start)
    await before.stop()
    await first.stop()

    const after = await enter('other', start)

    expect(after.node.peerId).toBe(before.node.peerId)
    expect(await after.data.certificate()).toEqual(await before.data.certificate())
  })

  describe('whose certificate has expired while it was stopped', () => {
    test('gets a newer one before anything else, and is a member again', async () => {
      const { first, before, again } = await stoppedFor(40 * DAY_MS)

      await again.enter()
      const member = await again.node.connect(first.node.addresses()[0] ?? '')

      expect(member.peerId).toBe(first.node.peerId)
      const { expiresMs = 0 } = again.node.membership.self ?? {}
      expect(expiresMs).toBeGreaterThan((before.node.membership.self?.expiresMs ?? 0) + 30 * DAY_MS)
      expect(await again.data.certificate()).toEqual(again.node.membership.documents().certificate)
    })

    test('too long ago needs another token, and says so', async () => {
      const { again } = await stoppedFor(61 * DAY_MS)

      await expect(again.enter()).rejects.toMatchObject({
        code: 'ERR_NOT_MEMBER',
        message: expect.stringMatching(/too long ago to renew \(remove .*certificate and join with/)
      })
    })
  })

  test.each([
    ['no token at all', 'garbage', /does not begin with bst1\./],
    ['a damaged token', 'bst1.AAAA', /malformed/]
  ])('is refused with %s, and keeps nothing', async (_name, joinToken, message) => {
    const { data, enter: entering } = await prepare('other', { roles: ['deploy'], joinToken })

    await expect(entering()).rejects.toMatchObject({ code: 'ERR_JOIN_REFUSED', message })

    expect(await data.cluster()).toBeUndefined()
  })

  test('is refused a role that its token does not give, and may try again with another token', async () => {
    const { token } = await beginCluster()
    const roles: Role[] = ['deploy', 'provider']
    const refused = await prepare('other', { roles, joinToken: await token(['deploy']) })

    await expect(refused.enter()).rejects.toMatchObject({
      code: 'ERR_CONFIG',
      message:
        'agent.roles has provider, but this agent was admitted as deploy ' +
        '(a token with these --roles is needed)'
    })
    await refused.stop()

    const { node } = await enter('other', { roles, joinToken: await token(roles) })
    expect(node.membership.self?.roles.has('provider')).toBe(true)
  })

  test('is refused a role that its certificate lacks, and told how to get it', async () => {
    const { token } = await beginCluster()
    const before = await enter('other', { roles: ['deploy'], joinToken: await token() })
    await before.stop()

    const after = await prepare('other', { roles: ['deploy', 'provider'] })

    await expect(after.enter()).rejects.toMatchObject({
      code: 'ERR_CONFIG',
      message: expect.stringContaining(`remove ${folder}/other/certificate and join`)
    })
  })

  test('that cannot have its address says so in one line', async () => {
    const { first } = await beginCluster()
    const listen = first.node.addresses()[0]?.replace(/\/p2p\/.*/, '') ?? ''
    const { enter: entering } = await prepare('other', { roles: ['versionManager'], listen })

    await expect(entering()).rejects.toMatchObject({
      code: 'ERR_LISTEN',
      message: expect.stringMatching(
        new RegExp(`^libp2p cannot listen on ${listen}: listen EADDRINUSE[^\n]*$`)
      )
    })
  })
})

describe('a token', () => {
  test.each([
    [{ roles: ['boss'] }, /"boss" is no role \(there are versionManager, /],
    [{ rights: ['all'] }, /"all" is no right \(there are read, /],
    [{ expiresMs: 999 }, /from 1 s to 30 days, not 999 ms/],
    [{ expiresMs: 31 * 86_400_000 }, /from 1 s to 30 days/],
    [{ expiresMs: Number.NaN }, /from 1 s to 30 days/]
  ])('for %j is refused', async (request, message) => {
    const data = new DataDirectory(join(folder, 'first'))
    await data.open()
    const authority = await openAuthority(data, { roles: ['versionManager'] }, systemClock)

    const creating = createToken(authority?.issuer, request, ['/ip4/127.0.0.1/tcp/1'], systemClock)

    await expect(creating).rejects.toMatchObject({ code: 'ERR_BAD_REQUEST', message })
  })

  test('is made by the agent that began the cluster only', async () => {
    await expect(createToken(undefined, {}, [], systemClock)).rejects.toMatchObject({
      code: 'ERR_BAD_REQUEST',
      message: 'only the agent that began the cluster can create tokens'
    })
  })
})

describe('the metadata list', () => {
  type Prepared = Awaited<ReturnType<typeof prepare>>
  async function keep({ data, node, authority }: Prepared) {
    const log = new MemoryLogger().forComponent('test')
    const parts = { data, node, authority: authority?.authority, clock: systemClock, log }
    const keeper = new MetadataListKeeper(parts)
    await keeper.start()
    stops.push(async () => keeper.stop())
    return keeper
  }
  const providersOf = ({ node }: Prepared): string[] | undefined =>
    node.membership.metadataList?.providers.map(({ peerId }) => peerId)

  test('begins with number 1 and the first agent in it', async () => {
    const { first } = await beginCluster()

    await keep(first)

    expect(first.node.membership.metadataList?.number).toBe(1)
    expect(providersOf(first)).toEqual([first.node.peerId])
  })

  test('gets the next number when a metadata provider comes, and reaches it', async () => {
    const { first, token } = await beginCluster()
    await keep(first)
    const joinToken = await token(['metadata'])

    const second = await prepare('second', { roles: ['metadata'], joinToken })
    const arrived = new Promise<void>((resolve) => {
      second.node.membership.onMetadataListChanged(({ number }) => {
        if (number === 2) resolve()
      })
    })
    await second.enter()
    await keep(second)
    await arrived

    expect(providersOf(first)?.toSorted()).toEqual(
      [first.node.peerId, second.node.peerId].toSorted()
    )
    expect(providersOf(second)).toEqual(providersOf(first))
  })

  test('keeps its number over a restart when nothing has changed', async () => {
    const { first } = await beginCluster()
    const keeper = await keep(first)
    const listen = first.node.addresses()[0]?.replace(/\/p2p\/.*/, '') ?? ''
    await keeper.stop()
    await first.stop()

    const again = await enter('first', { roles: ['versionManager', 'metadata'], listen })
    await keep(again)

    expect(again.node.membership.metadataList?.number).toBe(1)
  })

  test('does not name an agent without the role', async () => {
    const { first, token } = await beginCluster(['versionManager'])
    await keep(first)

    await enter('other', { roles: ['deploy'], joinToken: await token() })

    expect(providersOf(first)).toEqual([])
  })
})
