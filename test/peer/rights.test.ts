import { afterEach, describe, expect, test } from '@jest/globals'
import type { ServedProvider } from '../../src/chunks/maintenance-types.ts'
import type { ProviderManager } from '../../src/chunks/provider-manager-types.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { BlobswarmError } from '../../src/lib/errors.ts'
import { noLogger } from '../../src/lib/logger.ts'
import type { Namespace } from '../../src/metadata/namespace-types.ts'
import type { KeptMetadata } from '../../src/metadata/store-types.ts'
import type { DataMover } from '../../src/metadata/stripe-types.ts'
import { MOVER_PROTOCOL } from '../../src/peer/protocols/mover.ts'
import { serveMover } from '../../src/peer/protocols/mover-serve.ts'
import { PROVIDERS_PROTOCOL } from '../../src/peer/protocols/providers.ts'
import { serveProviders } from '../../src/peer/protocols/providers-serve.ts'
import {
  encodeStoreRequest,
  STORE_PROTOCOL,
  type StoreRequest
} from '../../src/peer/protocols/store.ts'
import { decodeStoreAnswer } from '../../src/peer/protocols/store-answers.ts'
import { serveStore } from '../../src/peer/protocols/store-serve.ts'
import { SWARM_PROTOCOL } from '../../src/peer/protocols/swarm.ts'
import { TREE_PROTOCOL } from '../../src/peer/protocols/tree.ts'
import { serveTree } from '../../src/peer/protocols/tree-serve.ts'
import { VERSION_PROTOCOL } from '../../src/peer/protocols/version.ts'
import {
  type ServedCollector,
  type ServedVersionManager,
  serveVersion
} from '../../src/peer/protocols/version-serve.ts'
import {
  MOVER_PERMISSIONS,
  PROTOCOL_PERMISSIONS,
  PROVIDERS_PERMISSIONS,
  permitsProtocol,
  STORE_PERMISSIONS,
  TREE_PERMISSIONS,
  VERSION_PERMISSIONS
} from '../../src/peer/rights.ts'
import { decodeFrame, encodeFrame } from '../../src/peer/rpc.ts'
import {
  type Channel,
  type ProtocolSpec,
  RIGHTS,
  type Right,
  ROLES,
  type Role
} from '../../src/peer/types.ts'
import { testMember } from '../support/channel-pair.ts'
import { MemoryNetwork } from '../support/memory-network.ts'
import { nextMessage } from '../support/peer-cluster.ts'
import { testSigner, trusting } from '../support/signing.ts'

function refuse(): never {
  throw new BlobswarmError('not for this test', 'ERR_REACHED')
}

/** Something every part of which refuses, so that nothing is done by what is permitted. */
function refusing<T>(but: Partial<T> = {}): T {
  return new Proxy(but, { get: (known, name) => Reflect.get(known, name) ?? refuse }) as T
}

const EMPTY_MAP = Uint8Array.of(0xa0)
const RPC = {
  version: { spec: VERSION_PROTOCOL, methods: Object.keys(VERSION_PERMISSIONS) },
  tree: { spec: TREE_PROTOCOL, methods: Object.keys(TREE_PERMISSIONS) },
  providers: { spec: PROVIDERS_PROTOCOL, methods: Object.keys(PROVIDERS_PERMISSIONS) },
  mover: { spec: MOVER_PROTOCOL, methods: Object.keys(MOVER_PERMISSIONS) }
} as const

const signer = testSigner()
const id = new Uint8Array(32).fill(7)
const order = signer.sign('ticket', new Uint8Array(3))
const STORE_REQUESTS: readonly StoreRequest[] = [
  { kind: 'put', request: 1, id, length: 1, part: new Uint8Array(1) },
  { kind: 'has', request: 1, ids: [id] },
  { kind: 'get', request: 1, id },
  { kind: 'begin', request: 1 },
  { kind: 'list', request: 1, collection: 'c', after: undefined },
  { kind: 'collect', request: 1, order },
  { kind: 'holds', request: 1, ids: [id] },
  { kind: 'check', request: 1, ids: [id] },
  { kind: 'copy', request: 1, ids: [id], sources: [] },
  { kind: 'trim', request: 1, order }
]

const closing: (() => void)[] = []
afterEach(() => {
  for (const close of closing.splice(0)) close()
})

/** An agent that serves everything. */
async function stage() {
  const network = new MemoryNetwork()
  const node = network.node('server')
  const common = { clock: systemClock, logger: noLogger, verifier: trusting(signer) }
  await serveVersion(node, {
    versions: refusing<ServedVersionManager>(),
    namespace: refusing<Namespace>(),
    collector: refusing<ServedCollector>(),
    ...common
  })
  await serveTree(node, { store: refusing<KeptMetadata>(), ...common })
  await serveProviders(node, { providers: refusing<ProviderManager>(), ...common })
  await serveMover(node, { mover: refusing<DataMover>(), ...common })
  await serveStore(node, { provider: refusing<ServedProvider>({ lengthOf: () => 1 }), ...common })
  return network
}

type Asked = readonly [name: string, code: string, message: string]

/** Asks for everything there is. @returns what was not permitted, by protocol or request. */
async function refusedTo(
  network: MemoryNetwork,
  about: { readonly roles: readonly Role[]; readonly rights: readonly Right[] }
): Promise<Asked[]> {
  const roles = new Set(about.roles)
  const member = network.node(`member ${about.roles.join('+')} ${about.rights.join('+')}`, {
    roles,
    rights: new Set(about.rights)
  })
  const answers: Asked[] = []
  const open = async (spec: ProtocolSpec, name: string): Promise<Channel | undefined> => {
    try {
      const channel = await member.open('server', spec)
      closing.push(() => channel.abort(new Error('seen enough')))
      return channel
    } catch (error) {
      const { code, message } = error as BlobswarmError
      answers.push([name, code, message])
      return undefined
    }
  }
  for (const [name, { spec, methods }] of Object.entries(RPC)) {
    const channel = await open(spec, name)
    for (const method of channel === undefined ? [] : methods) {
      await channel?.send(encodeFrame({ kind: 'request', id: 1, method, body: EMPTY_MAP }))
      const frame = decodeFrame((await nextMessage(channel as Channel)) ?? new Uint8Array())
      if (frame.kind === 'failure') answers.push([`${name} ${method}`, frame.code, frame.message])
    }
  }
  for (const request of STORE_REQUESTS) {
    const channel = await open(STORE_PROTOCOL, 'store')
    if (channel === undefined) break
    await channel.send(encodeStoreRequest(request))
    const answer = decodeStoreAnswer((await nextMessage(channel)) ?? new Uint8Array())
    if (answer.kind === 'failure') {
      answers.push([`store ${request.kind}`, answer.code, answer.message])
    }
  }
  return answers.filter(([, code]) => /NOT_PERMITTED|PROTOCOL_REFUSED/.test(code))
}

const namesOf = (asked: readonly Asked[]): string[] => asked.map(([name]) => name).toSorted()

const words = (text: string): string[] => text.trim().split(/\s+/)
const each = (protocol: string, methods: string): string[] =>
  words(methods).map((method) => `${protocol} ${method}`)

/** What needs the right to write, to everybody but those with a role that is named below. */
const WRITES = [
  ...each('version', 'createBlob assign renew commit finish retire makeDirectory reserve'),
  ...each('version', 'publishFile remove rename clone setModified'),
  ...each('tree', 'putNodes putPages putRecords'),
  ...each('providers', 'place'),
  ...each('store', 'put copy')
]
const ADMINS = [
  ...each('version', 'setPinned setRetention collect'),
  ...each('providers', 'setDraining')
]
/** What only a role gives, whatever the rights. */
const BY_ROLE = [
  'mover',
  ...each('tree', 'scan beginCollection unleased nodeVersions collect'),
  ...each('providers', 'report'),
  ...each('store', 'begin list collect trim')
]

const without = (all: readonly string[], given: readonly string[]): string[] =>
  all.filter((name) => !given.includes(name)).toSorted()

describe('what a member may ask for', () => {
  const ALL = [...WRITES, ...ADMINS, ...BY_ROLE]
  test.each<[string, Right[], Role[], string[]]>([
    ['reads', ['read'], ['deploy'], []],
    ['reads and writes', ['read', 'write'], ['deploy'], WRITES],
    ['has every right', ['read', 'write', 'admin'], ['deploy'], [...WRITES, ...ADMINS]],
    ['is a provider that reads', ['read'], ['provider'], each('providers', 'report')],
    [
      'is a metadata provider that reads',
      ['read'],
      ['metadata'],
      each('tree', 'putNodes putPages putRecords')
    ],
    [
      'is a provider manager that reads',
      ['read'],
      ['providerManager'],
      [...each('tree', 'putNodes putPages putRecords scan'), ...each('store', 'copy trim')]
    ],
    [
      'is a version manager that reads and writes',
      ['read', 'write'],
      ['versionManager'],
      [
        ...WRITES,
        ...each('tree', 'beginCollection unleased nodeVersions collect'),
        ...each('store', 'begin list collect')
      ]
    ]
  ])('if it %s', async (_name, rights, roles, given) => {
    const network = await stage()

    const refused = await refusedTo(network, { roles, rights })

    expect(namesOf(refused)).toEqual(without(ALL, given))
    for (const [name, code, message] of refused.filter(([asked]) => asked !== 'mover')) {
      expect([name, code]).toEqual([name, 'ERR_NOT_PERMITTED'])
      expect(message).toMatch(/ needs the (right to|role) \w+/)
    }
  })

  test('of a data mover goes by its rights', async () => {
    const network = await stage()
    const roles: Role[] = ['gridftp']

    const reader = namesOf(await refusedTo(network, { roles, rights: ['read'] }))
    const writer = namesOf(await refusedTo(network, { roles, rights: ['read', 'write'] }))

    const writes = each('mover', 'listen receive checkpoint leaves ensure release')
    expect(reader.filter((name) => name.startsWith('mover'))).toEqual(writes.toSorted())
    expect(writer.filter((name) => name.startsWith('mover'))).toEqual([])
  })

  test('without the right to read is nothing, whatever its roles', async () => {
    const network = await stage()
    const roles = ROLES.filter((role) => role !== 'gridftp')

    const refused = await refusedTo(network, { roles, rights: ['write', 'admin'] })

    expect(namesOf(refused)).toEqual(['mover', 'providers', 'store', 'tree', 'version'])
  })
})

describe('the table', () => {
  test('has every request of store/1', () => {
    const kinds = STORE_REQUESTS.map(({ kind }) => kind)

    expect(Object.keys(STORE_PERMISSIONS).toSorted()).toEqual(kinds.toSorted())
  })

  test('gives the swarm to those who may read', () => {
    const reader = testMember('reader', { rights: new Set(['read']), roles: new Set() })
    const other = testMember('other', { rights: new Set(['write']), roles: new Set(ROLES) })

    expect(permitsProtocol(SWARM_PROTOCOL.id, reader)).toBe(true)
    expect(permitsProtocol(SWARM_PROTOCOL.id, other)).toBe(false)
  })

  test('has every protocol of ours but hello, and gives none to a member without rights and roles', () => {
    const specs = [...Object.values(RPC).map(({ spec }) => spec), STORE_PROTOCOL, SWARM_PROTOCOL]
    const nobody = testMember('nobody', { roles: new Set(), rights: new Set() })
    const everybody = testMember('all', { roles: new Set(ROLES), rights: new Set(RIGHTS) })

    const ids = specs.map((spec) => spec.id)
    expect(Object.keys(PROTOCOL_PERMISSIONS).toSorted()).toEqual(ids.toSorted())
    expect(ids.filter((protocol) => permitsProtocol(protocol, nobody))).toEqual([])
    expect(ids.every((protocol) => permitsProtocol(protocol, everybody))).toBe(true)
  })
})
