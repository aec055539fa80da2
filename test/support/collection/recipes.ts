import { sampleBytes } from '../sample-bytes.ts'

/** Chunks of the images in these tests. */
export const CHUNK_BYTES = 65_536

/** Bytes that a write puts into one chunk: those of a sample, from its start. */
export interface Put {
  readonly index: number
  readonly at: number
  readonly length: number
  readonly seed: number
}

/** What is in each chunk: what was put there since it was last filled, in order. */
export type Recipe = readonly (readonly Put[])[]

/** Content of an image after a write. */
export function applied(below: Recipe, puts: readonly Put[]): Recipe {
  const recipe: (readonly Put[])[] = [...below]
  for (const put of puts) {
    while (recipe.length <= put.index) recipe.push([])
    const before = put.length === CHUNK_BYTES ? [] : (recipe[put.index] ?? [])
    recipe[put.index] = [...before, put]
  }
  return recipe
}

/** The bytes that a write puts somewhere. */
export function bytesOf({ seed, length }: Put): Uint8Array {
  return sampleBytes(CHUNK_BYTES, seed).subarray(0, length)
}

/** What an image reads as. */
export function contentOf(recipe: Recipe): Uint8Array {
  const ends = recipe.flatMap((puts) =>
    puts.map(({ index, at, length }) => index * CHUNK_BYTES + at + length)
  )
  const content = new Uint8Array(Math.max(0, ...ends))
  for (const put of recipe.flat()) content.set(bytesOf(put), put.index * CHUNK_BYTES + put.at)
  return content
}
