import { type LeafList, LeafListBuilder } from './leaf-list.ts'

/** Remembers which fragments of an upload have been stored since somebody asked last. */
export class StoredFragments {
  readonly #leaves: LeafListBuilder
  readonly #storing = new Set<Promise<unknown>>()
  #numbers: number[] = []

  constructor(leaves: LeafListBuilder) {
    this.#leaves = leaves
  }

  /** Fragments, by the numbers that the builder gave them, are stored. */
  add(numbers: readonly number[]): void {
    this.#numbers.push(...numbers)
  }

  /** Lets `settled` wait for something that is being stored. */
  async track(storing: Promise<void>): Promise<void> {
    this.#storing.add(storing)
    try {
      await storing
    } finally {
      this.#storing.delete(storing)
    }
  }

  /** Resolves when what is being stored now has been, or has failed. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#storing)
  }

  /** Gives what was stored since the last call. */
  take(): LeafList {
    const numbers = this.#numbers
    this.#numbers = []
    const taken = new LeafListBuilder({ expectedFragments: numbers.length })
    for (const number of numbers) {
      const { index, fragment } = this.#leaves.placed(number)
      taken.add(index, fragment)
    }
    return taken.build()
  }
}
