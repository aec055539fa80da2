import { MemoryStore } from '../../src/chunks/memory-store.ts'
import { testChunkStore } from '../contract/chunk-store.ts'

testChunkStore('memory store', async (options) => {
  const store = new MemoryStore(options)
  return { store, close: () => store.stop() }
})
