import { chunkKey } from '../../../src/chunks/chunk-id.ts'
import type { ChunkId, ProviderId } from '../../../src/chunks/types.ts'
import { type Random, seededRandom } from '../../../src/lib/random.ts'
import { decodeLocation, locationRecordName, signLocation } from '../../../src/metadata/location.ts'
import { recordKey } from '../../../src/metadata/metadata-keys.ts'
import { type Machine, RepairBench, type SampleImage, type Times } from './repair-bench.ts'

/** What may happen. */
export const DEEDS = [
  'upload',
  'share',
  'remove',
  'kill',
  'return',
  'drain',
  'undrain',
  'lose',
  'spoil',
  'settle'
] as const
type Deed = (typeof DEEDS)[number]

const TIMES: Times = { beat: 2000, suspect: 5000, dead: 12_000, lease: 20_000 }

const NAMES = 'abcdef'

/** Longest call of a provider, in milliseconds. */
const LATENCY_MS = 60

/** How long repair may take to make everything whole again. */
const PATIENCE_MS = 120_000

/**
 * What a cluster goes through: uploads, removals and faults by chance, never more faults than may
 * be survived, with repair running through it all. Whatever happens, everything that is published
 * can be read; when the faults stop, all has as many copies as wanted, and the records say where.
 */
export class RepairHistory {
  readonly #bench: RepairBench
  readonly #random: Random
  readonly #counts: Map<string, number>
  readonly #images = new Set<SampleImage>()
  readonly #draining = new Set<ProviderId>()
  /** Whether calls of repair fail now and then, and others write records at the same time. */
  #isStormy = true
  /** Copies, or providers, that were lost since everything was whole. */
  #faults = 0

  private constructor(seed: number, bench: RepairBench, counts: Map<string, number>) {
    this.#random = seededRandom(seed * 7919)
    this.#bench = bench
    this.#counts = counts
  }

  /** @param counts grows by what was done. */
  static async start(seed: number, counts: Map<string, number>): Promise<RepairHistory> {
    const replicas = 2 + (seed % 2)
    const rules = { replicas, times: TIMES, maxCopies: 2, thoroughMs: TIMES.lease * 2 }
    const bench = await RepairBench.start(NAMES, { seed, ...rules })
    const history = new RepairHistory(seed, bench, counts)
    for (const { provider } of bench.machines.values()) {
      provider.onCall = async (call) => {
        await history.#wait()
        // Those of repair fail now and then; a writer would go elsewhere.
        const isRepair = call === 'holds' || call === 'copy' || call === 'trim'
        if (isRepair && history.#stumbles()) throw new Error('connection lost')
      }
    }
    history.#rewriteRecords()
    return history
  }

  async stop(): Promise<void> {
    await this.#bench.stop()
  }

  /** @throws {Error} if something cannot be read, or is not made whole. */
  async run(steps: number): Promise<void> {
    for (let step = 0; step < steps; step++) {
      const deed = this.#pick(DEEDS) as Deed
      if (await this.#do(deed)) this.#counts.set(deed, (this.#counts.get(deed) ?? 0) + 1)
      await this.#bench.pass(Math.floor(this.#random() ** 3 * 8000))
      this.#checkReadable(`${deed}, step ${step}`)
    }
    await this.#calmDown()
  }

  /** @returns false if that makes no sense now. */
  async #do(deed: Deed): Promise<boolean> {
    switch (deed) {
      case 'upload':
        return await this.#upload()
      case 'share':
        return await this.#share()
      case 'remove':
        return await this.#remove()
      case 'kill':
        return this.#kill()
      case 'return':
        return await this.#return()
      case 'drain':
        return await this.#drain()
      case 'undrain':
        return await this.#undrain()
      case 'lose':
        return await this.#break(async ({ provider }, id) => void (await provider.store.delete(id)))
      case 'spoil':
        return await this.#break(async ({ provider }, id) => {
          await provider.store.delete(id)
          await provider.store.put(id, new Uint8Array(100).fill(7))
          await provider.store.check(id) // the scrubber comes by
        })
      case 'settle':
        return await this.#settle()
      default:
        throw new Error(`${String(deed satisfies never)} is no deed`)
    }
  }

  async #upload(): Promise<boolean> {
    const usable = this.#usable()
    const count = 1 + Math.floor(this.#random() * 12)
    const placed = Array.from({ length: count }, () => {
      const turn = Math.floor(this.#random() * usable.length)
      const turned = [...usable.slice(turn), ...usable.slice(0, turn)]
      return turned.slice(0, this.#bench.replicas).map(({ provider }) => provider.id)
    })
    this.#images.add(await this.#through(this.#bench.publish(placed)))
    return true
  }

  /** An image of chunks that others have already: who says so is in its record. */
  async #share(): Promise<boolean> {
    const known = [...this.#images].flatMap(({ ids }) => ids)
    const ids = known.filter(() => this.#random() < 0.3).slice(0, 20)
    if (ids.length === 0) return false
    const unique = [...new Map(ids.map((id) => [chunkKey(id), id])).values()]
    const up = this.#up()
    const answers = await this.#through(
      Promise.all(up.map(async ({ provider }) => await provider.has(unique)))
    )
    const replicas = unique.map((_, at) =>
      up.filter((_machine, of) => answers[of]?.[at] === true).map(({ provider }) => provider.id)
    )
    if (replicas.some(({ length }) => length === 0)) return false
    const image = await this.#calmly(async () => await this.#bench.name(unique, replicas))
    for (const other of this.#images) {
      if (chunkKey(other.page) === chunkKey(image.page)) return false
    }
    this.#images.add(image)
    return true
  }

  /** Removes an image and collects what nothing needs any more, as a collection does it. */
  async #remove(): Promise<boolean> {
    const image = this.#pick([...this.#images])
    if (image === undefined) return false
    this.#images.delete(image)
    const { metadata } = this.#bench
    await metadata.drop('records', [recordKey(locationRecordName(image.page))])
    await metadata.drop('pages', [image.page])
    const needed = new Set([...this.#images].flatMap(({ ids }) => ids.map(chunkKey)))
    const garbage = image.ids.filter((id) => !needed.has(chunkKey(id)))
    for (const { provider } of this.#up()) {
      await provider.collect(await provider.beginCollection(), garbage)
    }
    return true
  }

  #kill(): boolean {
    const machine = this.#pick(this.#usable())
    if (!this.#mayFail() || machine === undefined) return false
    if (this.#usable().length <= this.#bench.replicas) return false
    this.#faults++
    this.#bench.kill(machine.provider.id)
    return true
  }

  async #return(): Promise<boolean> {
    const down = [...this.#bench.machines.values()].filter(({ isUp }) => !isUp)
    const machine = this.#pick(down)
    if (machine === undefined) return false
    await this.#bench.revive(machine.provider.id)
    return true
  }

  async #drain(): Promise<boolean> {
    const machine = this.#pick(this.#usable())
    if (machine === undefined || this.#usable().length <= this.#bench.replicas) return false
    this.#draining.add(machine.provider.id)
    await this.#bench.manager.setDraining(machine.provider.id, true)
    return true
  }

  async #undrain(): Promise<boolean> {
    const id = this.#pick([...this.#draining])
    if (id === undefined) return false
    this.#draining.delete(id)
    await this.#bench.manager.setDraining(id, false)
    return true
  }

  /** A copy goes, and its provider notices. */
  async #break(how: (machine: Machine, id: ChunkId) => Promise<void>): Promise<boolean> {
    const image = this.#pick([...this.#images])
    const id = image === undefined ? undefined : this.#pick(image.ids)
    if (id === undefined || !this.#mayFail()) return false
    const machine = this.#pick(this.#up().filter(({ provider }) => provider.store.has(id)))
    if (machine === undefined) return false
    this.#faults++
    await how(machine, id)
    machine.lostCount++
    return true
  }

  /** Lets repair come to its end. */
  async #settle(): Promise<boolean> {
    const { beat, dead } = TIMES
    await this.#calmly(async () => {
      await this.#bench.pass(dead + 2 * beat) // whoever was killed is known to be dead
      await this.#untilWhole()
    })
    this.#faults = 0
    return true
  }

  async #untilWhole(): Promise<void> {
    for (let waitedMs = 0; ; waitedMs += 2000) {
      const figures = await this.#bench.figures()
      if (figures.isCurrent && figures.underReplicated === 0) return
      if (waitedMs > PATIENCE_MS) throw new Error(`not whole: ${JSON.stringify(figures)}`)
      await this.#bench.pass(2000)
    }
  }

  async #calmDown(): Promise<void> {
    for (const { isUp, provider } of this.#bench.machines.values()) {
      if (!isUp) await this.#bench.revive(provider.id)
    }
    for (const id of this.#draining) await this.#bench.manager.setDraining(id, false)
    this.#isStormy = false
    await this.#settle()
    await this.#bench.pass(TIMES.lease * 3)
    await this.#bench.look()
    await this.#bench.look()
    this.#checkReadable('the end')
    for (const image of this.#images) {
      const holders = this.#bench.holders(image)
      const recorded = await this.#bench.recorded(image)
      const wrong = holders.findIndex(
        (held, at) => held.length !== this.#bench.replicas || held !== recorded[at]
      )
      if (wrong !== -1) {
        throw new Error(`chunk ${wrong} is at ${holders[wrong]}, recorded at ${recorded[wrong]}`)
      }
    }
  }

  /** Every chunk of every image is somewhere where it can be read, now or after a return. */
  #checkReadable(when: string): void {
    for (const image of this.#images) {
      const lost = this.#bench.holders(image).indexOf('')
      if (lost !== -1) {
        throw new Error(`after ${when}: nobody has chunk ${lost} of ${image.ids.length}`)
      }
    }
  }

  /** Now and then a sealing writes a record just before repair does, under the same sequence. */
  #rewriteRecords(): void {
    const { metadata, signer } = this.#bench
    const putRecords = metadata.putRecords.bind(metadata)
    metadata.putRecords = async (records, options) => {
      const [first] = records
      const isRepair = first !== undefined && first.sequence > 1
      if (isRepair && this.#stumbles()) {
        const [known] = await metadata.getRecords([first.name])
        if (known !== undefined) {
          const { page, sequence, replicas } = decodeLocation(known.envelope.payload)
          const turned = replicas.map((set) => set.concat('x'))
          await putRecords([
            signLocation(signer, { page, sequence: sequence + 1, replicas: turned })
          ])
        }
      }
      await putRecords(records, options)
    }
  }

  /** Does something in which nobody interferes. */
  async #calmly<T>(work: () => Promise<T>): Promise<T> {
    const before = this.#isStormy
    this.#isStormy = false
    try {
      return await work()
    } finally {
      this.#isStormy = before
    }
  }

  #stumbles(): boolean {
    return this.#isStormy && this.#random() < 0.04
  }

  #mayFail(): boolean {
    return this.#faults < this.#bench.replicas - 1
  }

  #up(): Machine[] {
    return [...this.#bench.machines.values()].filter(({ isUp }) => isUp)
  }

  #usable(): Machine[] {
    return this.#up().filter(({ provider }) => !this.#draining.has(provider.id))
  }

  async #wait(): Promise<void> {
    await this.#bench.clock.sleep(Math.floor(this.#random() * LATENCY_MS))
  }

  async #through<T>(work: Promise<T>): Promise<T> {
    return await this.#bench.clock.until(work)
  }

  #pick<T>(items: readonly T[]): T | undefined {
    return items[Math.floor(this.#random() * items.length)]
  }
}
