import { Bitfield } from '../../chunks/bitfield.ts'
import type { Random } from '../../lib/random.ts'
import { Availability } from './availability.ts'

/**
 * How far this agent's chunks have spread among the neighbours that want them: a neighbour counts for a
 * chunk from the moment the chunk is set aside for it. A source that always sends what has spread least
 * sends every chunk about once, and the neighbours pass it on.
 *
 * Copies are counted always; the buckets for choosing are made at the first choice, because most agents
 * are told what to send.
 */
export class Spread {
  readonly #count: number
  readonly #random: Random
  readonly #held: Bitfield
  readonly #levels: Uint16Array<ArrayBuffer>
  readonly #neighbours = new Map<string, Bitfield>()
  /** Over the same levels, once something was to be chosen. */
  #choices: Availability | undefined

  constructor(count: number, random: Random) {
    this.#count = count
    this.#random = random
    this.#held = new Bitfield(count)
    this.#levels = new Uint16Array(count)
  }

  /** This agent holds a chunk from now on. */
  hold(chunk: number): void {
    this.#held.set(chunk)
    this.#choices?.open(chunk)
  }

  /** This agent no longer holds a chunk. */
  unhold(chunk: number): void {
    this.#held.clear(chunk)
    this.#choices?.close(chunk)
  }

  /** A neighbour that wants chunks came. */
  join(peer: string, held: Bitfield): void {
    this.leave(peer)
    const counted = Bitfield.decode(held.encode(), this.#count)
    for (const chunk of counted.ones()) this.#increment(chunk)
    this.#neighbours.set(peer, counted)
  }

  /** A neighbour left or wants nothing any more; what only it had counts as not spread. */
  leave(peer: string): void {
    const counted = this.#neighbours.get(peer)
    if (counted === undefined) return
    this.#neighbours.delete(peer)
    for (const chunk of counted.ones()) this.#decrement(chunk)
  }

  /** A neighbour has a chunk, or is being sent it. */
  add(peer: string, chunk: number): void {
    if (this.#neighbours.get(peer)?.set(chunk) === true) this.#increment(chunk)
  }

  /** A chunk that was set aside for a neighbour does not go there. */
  remove(peer: string, chunk: number): void {
    if (this.#neighbours.get(peer)?.clear(chunk) === true) this.#decrement(chunk)
  }

  /** Number of wanting neighbours other than `peer` that count for the chunk. */
  copiesBeside(peer: string, chunk: number): number {
    const own = this.#neighbours.get(peer)?.get(chunk) === true ? 1 : 0
    return (this.#levels[chunk] ?? 0) - own
  }

  /** The chunk spread least among those that `peer` lacks; undefined above `maxCopies`. */
  pickFor(peer: string, maxCopies: number): number | undefined {
    this.#choices ??= this.#makeChoices()
    const counted = this.#neighbours.get(peer)
    const lacks = (chunk: number): boolean => counted?.get(chunk) !== true
    return this.#choices.rarest(lacks, { to: maxCopies })
  }

  #makeChoices(): Availability {
    const choices = new Availability(this.#count, this.#random, this.#levels)
    for (const chunk of this.#held.ones()) choices.open(chunk)
    return choices
  }

  #increment(chunk: number): void {
    if (this.#choices !== undefined) this.#choices.increment(chunk)
    else this.#levels[chunk] = (this.#levels[chunk] ?? 0) + 1
  }

  #decrement(chunk: number): void {
    if (this.#choices !== undefined) this.#choices.decrement(chunk)
    else this.#levels[chunk] = (this.#levels[chunk] ?? 0) - 1
  }
}
