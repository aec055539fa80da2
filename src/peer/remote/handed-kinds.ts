import { chunkKey } from '../../chunks/chunk-id.ts'
import type { AbortOptions } from '../../lib/abort-options.ts'
import { recordKey, recordName } from '../../metadata/metadata-keys.ts'
import { decodeNodeKey, encodeNodeKey } from '../../metadata/node-codec.ts'
import type {
  HandedOverStore,
  KeptMetadata,
  MetadataKind,
  NamedRecord,
  Page,
  ProvenNode
} from '../../metadata/store-types.ts'
import { nodeBundle, ownerKey } from '../owners.ts'
import { byProof } from '../protocols/tree-proven.ts'
import type { OwnerStore } from './metadata-provider.ts'
import { nodeBytes } from './owned-kinds.ts'

/** A thing on its way to another provider. */
export interface HandedItem<T> {
  readonly key: Uint8Array
  readonly item: T
}

/** How things of one kind are handed over. */
export interface HandedKind<T> {
  readonly kind: MetadataKind
  /** Keys that are looked at together. */
  readonly keysAtOnce: number
  /** Things that are loaded and given together. */
  readonly itemsAtOnce: number
  /** What a key is placed by: equal texts have equal owners, whose hash `hashOf` gives. */
  placeOf(key: Uint8Array): string
  hashOf(place: string, key: Uint8Array): Uint8Array
  /** Tells which of the keys a provider needs. */
  lacking(
    there: OwnerStore,
    keys: readonly Uint8Array[],
    own: { readonly store: KeptMetadata } & AbortOptions
  ): Promise<readonly boolean[]>
  /** Loads things; those that are no longer there are left out. */
  load(
    own: KeptMetadata,
    keys: readonly Uint8Array[],
    options: AbortOptions
  ): Promise<HandedItem<T>[]>
  /** Cuts things into those that one put can carry. */
  group(items: readonly HandedItem<T>[]): readonly (readonly HandedItem<T>[])[]
  give(
    there: Pick<HandedOverStore, 'putNodes' | 'putPages' | 'putRecords'>,
    group: readonly HandedItem<T>[],
    options: AbortOptions
  ): Promise<void>
  bytesOf(item: T): number
}

/** Tree nodes go with the proof that they were put with, all of one proof together. */
export const HANDED_NODES: HandedKind<ProvenNode> = {
  kind: 'nodes',
  keysAtOnce: 1024,
  itemsAtOnce: 512,
  placeOf: (key) => nodeBundle(decodeNodeKey(key)),
  hashOf: ownerKey,
  lacking: (there, keys, { signal }) => there.lacking('nodes', keys, { signal }),
  load: async (own, keys, options) => {
    const found = await own.getProvenNodes(keys.map(decodeNodeKey), options)
    return found
      .filter((item) => item !== undefined)
      .map((item) => ({ key: encodeNodeKey(item.key), item }))
  },
  group: (items) => {
    const byItem = new Map(items.map((handed) => [handed.item, handed]))
    return [...byProof(byItem.keys()).values()].map((nodes) =>
      nodes.flatMap((node) => byItem.get(node) ?? [])
    )
  },
  give: async (there, group, options) => {
    const nodes = group.map(({ item }) => item)
    const [first] = nodes
    if (first !== undefined) await there.putNodes(nodes, first.proof, options)
  },
  bytesOf: ({ node }) => nodeBytes(node)
}

/** Pages. A few at a time, because one may have 1 MiB. */
export const HANDED_PAGES: HandedKind<Page> = {
  kind: 'pages',
  keysAtOnce: 1024,
  itemsAtOnce: 16,
  placeOf: chunkKey,
  hashOf: (_place, key) => key,
  lacking: (there, keys, { signal }) => there.lacking('pages', keys, { signal }),
  load: async (own, keys, options) => {
    const found = await own.getPages(keys, options)
    return keys.flatMap((id, at) => {
      const bytes = found[at]
      return bytes === undefined ? [] : [{ key: id, item: { id, bytes } }]
    })
  },
  group: (items) => [items],
  give: (there, group, options) =>
    there.putPages(
      group.map(({ item }) => item),
      options
    ),
  bytesOf: ({ bytes }) => bytes.byteLength
}

/** Records. Whoever has an older one needs the newer. */
export const HANDED_RECORDS: HandedKind<NamedRecord> = {
  kind: 'records',
  keysAtOnce: 256,
  itemsAtOnce: 64,
  placeOf: recordName,
  hashOf: ownerKey,
  lacking: async (there, keys, { store, signal }) => {
    const own = await store.getRecords(keys.map(recordName), { signal })
    const asked = keys.map((key, at) => {
      return { name: recordName(key), sequence: own[at]?.sequence ?? 0 }
    })
    return await there.behind(asked, { signal })
  },
  load: async (own, keys, options) => {
    const found = await own.getRecords(keys.map(recordName), options)
    return found
      .filter((item) => item !== undefined)
      .map((item) => ({ key: recordKey(item.name), item }))
  },
  group: (items) => [items],
  give: (there, group, options) =>
    there.putRecords(
      group.map(({ item }) => item),
      options
    ),
  bytesOf: ({ envelope }) => envelope.payload.byteLength + envelope.certificate.byteLength
}
