import { join } from 'node:path'
import { afterEach, describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { Absences, MetadataListKeeper } from '../../src/agent/metadata-list.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { Authority } from '../../src/peer/authority.ts'
import { Membership } from '../../src/peer/membership.ts'
import type { Member, Role } from '../../src/peer/types.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { temporaryFolders } from '../support/temporary-folder.ts'
import { WaitingLogger } from '../support/waiting-logger.ts'

const newFolder = temporaryFolders()
const keepers: MetadataListKeeper[] = []

afterEach(async () => {
  await Promise.all(keepers.splice(0).map(async (keeper) => keeper.stop()))
})

const SELF = '12D3KooWSelf'

/** The authority's agent with connections that the test makes and cuts. */
class Stage {
  readonly clock = new ManualClock()
  readonly log = new WaitingLogger()
  readonly authority = new Authority(new Uint8Array(32).fill(7), this.clock)
  readonly #folder: string
  readonly #listeners = new Set<() => void>()
  #members: Member[] = []

  constructor(folder: string) {
    this.#folder = folder
  }

  /** Starts the keeper, on what an earlier one has left. */
  async start(roles: readonly Role[] = ['versionManager']) {
    const { clusterId } = this.authority
    const membership = new Membership(SELF, this.clock)
    const certificate = this.authority.issue(SELF, { roles, rights: ['read'] })
    membership.enter({ clusterId, certificate })
    const node = {
      peerId: SELF,
      membership,
      addresses: () => ['/memory/self'],
      addressesOf: (peerId: string) => [`/memory/${peerId}`],
      members: () => this.#members,
      onMembersChanged: (listener: () => void) => {
        this.#listeners.add(listener)
        return () => this.#listeners.delete(listener)
      }
    }
    const data = { file: (name: string) => join(this.#folder, name) }
    const { clock, authority, log } = this
    const keeper = new MetadataListKeeper(
      { data, node, authority, clock, log: log.forComponent('list') },
      { deadAfterMs: 20_000 }
    )
    keepers.push(keeper)
    await keeper.start()
    const list = (): string[] | undefined =>
      membership.metadataList?.providers.map(({ peerId }) => peerId)
    return { keeper, membership, list }
  }

  /** Who is connected from now on. Resolves when the list has followed. */
  async connect(...peerIds: readonly string[]): Promise<void> {
    this.#set(peerIds)
    await this.log.next(/metadata list \d+ has \d+ providers/)
  }

  /** The same, where the list stays as it is. */
  disconnect(...left: readonly string[]): void {
    this.#set(left)
  }

  /** Time passes, and the list follows. */
  async pass(ms: number): Promise<void> {
    const changed = this.log.next(/metadata list \d+ has \d+ providers/)
    this.clock.advance(ms)
    await changed
  }

  #set(peerIds: readonly string[]): void {
    this.#members = peerIds.map((peerId) => ({
      peerId,
      roles: new Set<Role>(['metadata']),
      rights: new Set<never>(),
      issuedMs: 0,
      expiresMs: Number.MAX_SAFE_INTEGER
    }))
    for (const listener of this.#listeners) listener()
  }
}

/** Lets what the keeper has begun come to its end. */
async function idle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
}

describe('the metadata list of the authority', () => {
  test('loses a provider that has been gone for long enough, and no earlier', async () => {
    const stage = new Stage(await newFolder())
    const { list, membership } = await stage.start()
    await stage.connect('a', 'b', 'c')
    stage.disconnect('a', 'b')
    await idle()

    stage.clock.advance(19_999)
    await idle()
    expect(list()).toEqual(['a', 'b', 'c'])
    await stage.pass(1)

    expect(list()).toEqual(['a', 'b'])
    expect(membership.metadataList?.number).toBe(3)
    expect(stage.log.lines).toContainEqual('list c is gone and off the metadata list')
  })

  test('loses a provider that was revoked at once', async () => {
    const stage = new Stage(await newFolder())
    const { list, membership } = await stage.start()
    await stage.connect('a', 'b', 'c')
    const revoked = [{ peerId: 'c', atMs: 1, untilMs: 100_000, reason: '' }]
    membership.offerRevocations(stage.authority.signRevocations(1, revoked))

    await stage.connect('a', 'b')

    expect(list()).toEqual(['a', 'b'])
  })

  test('gets it back with its next hello', async () => {
    const stage = new Stage(await newFolder())
    const { list } = await stage.start()
    await stage.connect('a', 'b', 'c')
    stage.disconnect('a', 'b')
    await idle()
    await stage.pass(20_000)

    await stage.connect('a', 'b', 'c')

    expect(list()).toEqual(['a', 'b', 'c'])
  })

  test('keeps one that comes back in time', async () => {
    const stage = new Stage(await newFolder())
    const { list, membership } = await stage.start()
    await stage.connect('a', 'b')
    stage.disconnect('a')
    await idle()
    stage.clock.advance(15_000)
    stage.disconnect('a', 'b')
    await idle()
    stage.disconnect('a')
    await idle()

    stage.clock.advance(15_000)
    await idle()

    expect(list()).toEqual(['a', 'b'])
    expect(membership.metadataList?.number).toBe(2)
  })

  test('gives everybody time after its own start', async () => {
    const stage = new Stage(await newFolder())
    const first = await stage.start()
    await stage.connect('a', 'b')
    await first.keeper.stop()
    stage.disconnect('a')
    stage.clock.advance(3_600_000)

    const { list } = await stage.start()
    stage.clock.advance(19_999)
    await idle()
    expect(list()).toEqual(['a', 'b'])
    await stage.pass(1)

    expect(list()).toEqual(['a'])
  })

  test('stays as it is while nobody at all is there', async () => {
    const stage = new Stage(await newFolder())
    const { list } = await stage.start()
    await stage.connect('a', 'b')
    stage.disconnect()
    await idle()

    stage.clock.advance(3_600_000)
    await idle()
    stage.disconnect('b')
    await idle()
    expect(list()).toEqual(['a', 'b'])
    await stage.pass(20_000)

    expect(list()).toEqual(['b'])
  })

  test('keeps this agent itself if it is a provider', async () => {
    const stage = new Stage(await newFolder())
    const { list } = await stage.start(['versionManager', 'metadata'])
    await stage.connect('a')
    stage.disconnect()
    await idle()

    await stage.pass(20_000)

    expect(list()).toEqual([SELF])
  })
})

test('who is missing for a while is dead, who was there in between is not, and never all are', () => {
  const steps = fc.array(
    fc.record({ present: fc.subarray(['a', 'b', 'c', 'd']), afterMs: fc.nat(150) }),
    { maxLength: 30 }
  )
  fc.assert(
    fc.property(steps, (history) => {
      const absences = new Absences(100)
      let listed = ['a', 'b', 'c', 'd']
      let nowMs = 0
      const missingSinceMs = new Map<string, number>()
      for (const { present, afterMs } of history) {
        nowMs += afterMs
        const there = new Set(present)
        const { dead, nextMs } = absences.look(listed, there, nowMs)
        for (const name of ['a', 'b', 'c', 'd']) {
          if (there.has(name) || there.size === 0) missingSinceMs.delete(name)
          else if (!missingSinceMs.has(name)) missingSinceMs.set(name, nowMs)
        }
        const expected = listed.filter((name) => nowMs - (missingSinceMs.get(name) ?? nowMs) >= 100)
        expect(dead).toEqual(expected)
        expect(nextMs === undefined || (nextMs > 0 && nextMs <= 100)).toBe(true)
        listed = [...new Set([...listed.filter((name) => !dead.includes(name)), ...present])]
        expect(listed.length).toBeGreaterThan(0)
      }
    })
  )
})

test('a time to wait must be one', () => {
  expect(() => new Absences(0)).toThrow(RangeError)
})

test('elsewhere the newest list is remembered over a restart', async () => {
  const folder = await newFolder()
  const clock = new ManualClock()
  const authority = new Authority(new Uint8Array(32).fill(7), clock)
  const membership = new Membership(SELF, clock)
  const certificate = authority.issue(SELF, { roles: ['deploy'], rights: ['read'] })
  membership.enter({ clusterId: authority.clusterId, certificate })
  const node = {
    peerId: SELF,
    membership,
    addresses: () => [],
    addressesOf: () => [],
    members: () => [],
    onMembersChanged: () => () => {}
  }
  const data = { file: (name: string) => join(folder, name) }
  const log = noLogger.forComponent('')
  const keeper = new MetadataListKeeper({ data, node, authority: undefined, clock, log })
  keepers.push(keeper)
  await keeper.start()
  const encoded = authority.signMetadataList(4, [{ peerId: 'a', addresses: [] }])
  membership.offerMetadataList(encoded)
  await keeper.stop()

  const { list } = await new Stage(folder).start()

  expect(list()).toEqual(['a'])
})
