import type { FetchPages } from '../chunks/manifest-load.ts'
import { toHex } from '../lib/bytes.ts'
import { MetadataMissingError } from './errors.ts'
import type { PageStore } from './store-types.ts'

/**
 * Gives the function that manifests and leaf lists are loaded with. It rejects with
 * MetadataMissingError.
 */
export function pageFetcher(store: Pick<PageStore, 'getPages'>): FetchPages {
  return async (ids, options) => {
    const pages = await store.getPages(ids, options)
    return ids.map((id, at) => {
      const page = pages[at]
      if (page === undefined) throw new MetadataMissingError(`page ${toHex(id).slice(0, 16)}`)
      return page
    })
  }
}
