import { type LeafList, LeafListBuilder } from './leaf-list.ts'

/**
 * Makes one leaf list of what several writers stored of the same version. Where a border between
 * them lies inside of a chunk its leaf gets the fragments of both; where they overlap the later list
 * is seen.
 *
 * @throws {MetadataLimitError} if a leaf has too many fragments then.
 */
export function joinLeafLists(lists: readonly LeafList[]): LeafList {
  const [only] = lists
  if (only !== undefined && lists.length === 1) return only
  const expectedFragments = lists.reduce((sum, { fragmentCount }) => sum + fragmentCount, 0)
  const builder = new LeafListBuilder({ expectedFragments })
  for (const list of lists) {
    for (let row = 0; row < list.fragmentCount; row++) {
      builder.add(list.index(row), list.fragment(row))
    }
  }
  return builder.build()
}
