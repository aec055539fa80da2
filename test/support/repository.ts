import { toHex } from '../../src/lib/bytes.ts'
import type { MetadataStore, NamedRecord } from '../../src/metadata/types.ts'

export function memoryMetadata(): MetadataStore {
  const pages = new Map<string, Uint8Array>()
  const records = new Map<string, NamedRecord>()
  return {
    getPages: async (ids) => ids.map((id) => pages.get(toHex(id))),
    putPages: async (some) => {
      for (const p of some) pages.set(toHex(p.id), p.bytes)
    },
    getRecords: async (names) => names.map((n) => records.get(n)),
    putRecords: async (some) => {
      for (const r of some) {
        const old = records.get(r.name)
        if (old && old.sequence >= r.sequence) continue
        records.set(r.name, r)
      }
    },
    getNodes: async () => [],
    putNodes: async () => {}
  }
}
