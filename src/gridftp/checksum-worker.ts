/** A thread that computes sums, several at the same time, each piece by piece. */
import { serveWorkerCalls } from '../lib/worker-call.ts'
import { type ChecksumAlgorithm, createDigest, type Digest } from './checksum.ts'

interface Sum {
  readonly digest: Digest
  /** Where its pieces are written by the thread that asks. */
  readonly shared: Uint8Array
}

const sums = new Map<number, Sum>()

const methods = {
  /** Begins a sum under a number. */
  begin: async (sum: SumBeginning): Promise<void> => {
    const digest = await createDigest(sum.algorithm)
    sums.set(sum.id, { digest, shared: new Uint8Array(sum.shared) })
  },

  /** Adds a piece of the shared memory. */
  update: ({ id, offset, length }: SumPiece): void => {
    const { digest, shared } = sumOf(id)
    digest.update(shared.subarray(offset, offset + length))
  },

  /** Lower-case hex. */
  end: (id: number): string => {
    const hex = sumOf(id).digest.hex()
    sums.delete(id)
    return hex
  },

  /** Forgets a sum that nobody wants any more. */
  drop: (id: number): void => {
    sums.delete(id)
  }
}

/** A sum that is begun, and the memory in which its pieces will be. */
export interface SumBeginning {
  readonly id: number
  readonly algorithm: ChecksumAlgorithm
  readonly shared: SharedArrayBuffer
}

/** A piece of the memory of a sum. */
export interface SumPiece {
  readonly id: number
  readonly offset: number
  readonly length: number
}

function sumOf(id: number): Sum {
  const sum = sums.get(id)
  if (sum === undefined) throw new Error(`no sum has the number ${id}`)
  return sum
}

/** What `WorkerCaller` can ask of this thread. */
export type ChecksumMethods = typeof methods

serveWorkerCalls(methods)
