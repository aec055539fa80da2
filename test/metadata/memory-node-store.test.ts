import { MemoryMetadataStore } from '../../src/metadata/memory-node-store.ts'
import { keptMetadataContract, LEASE_MS } from '../contract/kept-metadata.ts'
import { metadataStoreContract } from '../contract/metadata-store.ts'

metadataStoreContract('memory', async (verifier) => new MemoryMetadataStore({ verifier }))

keptMetadataContract('memory', async (verifier, clock) => {
  const kept = new MemoryMetadataStore({ verifier, clock }, { leaseMs: LEASE_MS })
  return { store: kept, kept }
})
