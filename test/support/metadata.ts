import { MemoryMetadataStore } from '../../src/metadata/memory-node-store.ts'
import type { MetadataStore } from '../../src/metadata/store-types.ts'
import { testSigner, trusting } from './signing.ts'

type Put<K extends keyof MetadataStore> = MetadataStore[K]

/** What a test puts in the place of a store's method; it may call the real one, or fail. */
export interface MetadataFaults {
  putNodes?: Put<'putNodes'> | undefined
  putPages?: Put<'putPages'> | undefined
  putRecords?: Put<'putRecords'> | undefined
}

/** Makes a metadata store in memory that trusts the first test signer. */
export function memoryMetadata(): MetadataStore {
  return new MemoryMetadataStore({ verifier: trusting(testSigner()) })
}

/** Puts the given methods in the place of the store's own, now or whenever they are set. */
export function metadataWithFaults(store: MetadataStore, faults: MetadataFaults): MetadataStore {
  return {
    getNodes: (keys, options) => store.getNodes(keys, options),
    getPages: (ids, options) => store.getPages(ids, options),
    getRecords: (names, options) => store.getRecords(names, options),
    putNodes: async (nodes, proof, options) =>
      await (faults.putNodes ?? store.putNodes.bind(store))(nodes, proof, options),
    putPages: async (pages, options) =>
      await (faults.putPages ?? store.putPages.bind(store))(pages, options),
    putRecords: async (records, options) =>
      await (faults.putRecords ?? store.putRecords.bind(store))(records, options)
  }
}
