import type { KadDHT } from '@libp2p/kad-dht'
import { peerIdFromString } from '@libp2p/peer-id'
import { Key } from 'interface-datastore/key'
import type { CID } from 'multiformats/cid'
import { toString } from 'uint8arrays/to-string'
import type { Clock } from '../../src/lib/clock.ts'
import type { Random } from '../../src/lib/random.ts'
import type { DirectoryDht } from '../../src/peer/directory-queries.ts'
import { ProviderRecords, type ProviderRecordsOptions } from '../../src/peer/provider-records.ts'

/** Where kad-dht keeps the record of who provides a key. */
export function recordKey(key: CID, peerId?: string): Key {
  const name = toString(key.multihash.bytes, 'base32')
  return new Key(`/dht/provider/${name}${peerId === undefined ? '' : `/${peerId}`}`)
}

type ProvideEvents = ReturnType<KadDHT['provide']>
type FindEvents = ReturnType<KadDHT['findProviders']>

/** A DHT of one server, as kad-dht behaves, without a network. */
export class MemoryDht {
  readonly peerId = '12D3KooWServer'
  readonly records: ProviderRecords
  /** Questions and announcements that came. */
  asked = 0
  announced = 0

  constructor(
    components: { readonly clock: Clock; readonly random: Random },
    options?: ProviderRecordsOptions
  ) {
    this.records = new ProviderRecords(components, options)
  }

  /** The DHT as one of its clients sees it. */
  client(peerId: string): DirectoryDht {
    return {
      provide: (key) => this.#provide(key, peerId) as unknown as ProvideEvents,
      findProviders: (key) => this.#find(key) as unknown as FindEvents,
      cancelReprovide: async () => {}
    }
  }

  async *#provide(key: CID, peerId: string): AsyncGenerator<object> {
    this.announced += 1
    await this.records.put(recordKey(key, peerId), new Uint8Array(1))
    await this.records.put(
      new Key(`/peers/${peerIdFromString(peerId).toCID().toString()}`),
      new Uint8Array(1)
    )
    yield { name: 'PEER_RESPONSE', messageName: 'ADD_PROVIDER', from: this.peerId, providers: [] }
  }

  async *#find(key: CID): AsyncGenerator<object> {
    this.asked += 1
    const providers: { id: string }[] = []
    for await (const { key: found } of this.records.query({ prefix: recordKey(key).toString() })) {
      providers.push({ id: found.toString().split('/').at(-1) ?? '' })
    }
    yield { name: 'PEER_RESPONSE', messageName: 'GET_PROVIDERS', from: this.peerId, providers }
  }
}
