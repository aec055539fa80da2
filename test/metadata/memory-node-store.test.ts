import { MemoryMetadataStore } from '../../src/metadata/memory-node-store.ts'
import { metadataStoreContract } from '../contract/metadata-store.ts'

metadataStoreContract('memory', async (verifier) => new MemoryMetadataStore({ verifier }))
