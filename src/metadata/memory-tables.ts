import type { NodeKey } from './tree-types.ts'

/** The things of one kind, by their keys as bytes. */
export interface Table {
  readonly keys: () => Uint8Array[]
  readonly has: (key: Uint8Array) => boolean
  readonly bytesOf: (key: Uint8Array) => number
  readonly delete: (key: Uint8Array) => void
}

/** Shows a map by names as a table by keys. */
export function tableOf<T>(
  map: Map<string, T>,
  as: {
    readonly name: (key: Uint8Array) => string
    readonly key: (name: string) => Uint8Array
    readonly bytesOf: (item: T) => number
  }
): Table {
  return {
    keys: () => [...map.keys()].map(as.key),
    has: (key) => map.has(as.name(key)),
    bytesOf: (key) => {
      const item = map.get(as.name(key))
      return item === undefined ? 0 : as.bytesOf(item)
    },
    delete: (key) => map.delete(as.name(key))
  }
}

/** Name of a node in a map. */
export function nameOf({ blob, version, offset, span }: NodeKey): string {
  return `${blob}/${version}/${offset}/${span}`
}

/** Key of the node with a name. */
export function keyOf(name: string): NodeKey {
  const [blob = '', version, offset, span] = name.split('/')
  return { blob, version: Number(version), offset: Number(offset), span: Number(span) }
}

/** Index of the first key that is not `isBefore`, which those in front of it all are. */
export function firstWithout(
  sorted: readonly Uint8Array[],
  isBefore: (key: Uint8Array) => boolean
): number {
  let [low, high] = [0, sorted.length]
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    const key = sorted[middle]
    if (key !== undefined && isBefore(key)) low = middle + 1
    else high = middle
  }
  return low
}

/** Tells whether a key comes behind another. */
export function isAbove(key: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(key, other) > 0
}
