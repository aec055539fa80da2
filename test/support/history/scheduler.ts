import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Dice } from './dice.ts'

/** What an actor does in a call; `commit` and `assign` are what others depend on. */
export type CallKind = 'read' | 'page' | 'assign' | 'node' | 'renew' | 'commit' | 'wait' | 'seal'

/** Steps that an actor sleeps at most. */
const MAX_SLEEP = 150

/** Steps that pass at once when nobody can move. */
const IDLE_STEPS = 10

interface WaitingCall {
  readonly actor: Actor
  readonly kind: CallKind
  readonly isReady: () => boolean
  /** Does it, tells the caller unless `isAnswered` is false, and never throws. */
  readonly run: (isAnswered: boolean) => Promise<void>
}

/** A process of the history: a writer, a repairer or a sealer. */
export class Actor {
  readonly name: string
  /** Calls until it stops for ever. */
  callsLeft: number
  /** Scheduler steps until it goes on. */
  asleepFor = 0
  condition: 'running' | 'crashed' | 'ended' = 'running'
  /** Called when it crashes. */
  onCrash: () => void = () => {}

  constructor(name: string, callsLeft = Number.POSITIVE_INFINITY) {
    this.name = name
    this.callsLeft = callsLeft
  }
}

/**
 * Lets the calls of many actors through one at a time, in an order that chance draws: every call of
 * an actor to a store or to the version manager waits here. Between two calls an actor may fall
 * asleep, or crash: before the call, or after its effect and before its answer.
 */
export class Scheduler {
  /** Chance that an actor falls asleep when its call is drawn. */
  sleepChance = 0
  /** Kinds that are held back for now. */
  heldBack: ReadonlySet<CallKind> = new Set()
  readonly #dice: Dice
  readonly #waiting: WaitingCall[] = []
  readonly #actors = new Set<Actor>()
  #crashes = 0

  constructor(dice: Dice) {
    this.#dice = dice
  }

  /** Actors that have neither ended nor crashed. */
  get actors(): ReadonlySet<Actor> {
    return this.#actors
  }

  get crashes(): number {
    return this.#crashes
  }

  /** Starts an actor; it ends with `work`, whose failure is handed to `onEnd`. */
  start(actor: Actor, work: () => Promise<void>, onEnd: (failure: unknown) => void): void {
    this.#actors.add(actor)
    const end = (failure?: unknown): void => {
      if (actor.condition !== 'running') return
      actor.condition = 'ended'
      this.#actors.delete(actor)
      onEnd(failure)
    }
    work().then(() => end(), end)
  }

  /** Waits until the call is drawn, then makes it. Never settles once the actor has crashed. */
  async call<T>(
    actor: Actor,
    kind: CallKind,
    make: () => T | Promise<T>,
    isReady: () => boolean = () => true
  ): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    if (actor.condition === 'crashed') return await promise
    const run = async (isAnswered: boolean): Promise<void> => {
      try {
        const made = await make()
        if (isAnswered) resolve(made)
      } catch (error) {
        if (isAnswered) reject(error)
      }
    }
    this.#waiting.push({ actor, kind, isReady, run })
    return await promise
  }

  /**
   * Makes one call.
   *
   * @returns how many steps passed; more than one if no call could be made.
   */
  async step(): Promise<number> {
    this.#passTime(1)
    const ready = this.#waiting.filter(
      ({ actor, kind, isReady }) => actor.asleepFor === 0 && !this.heldBack.has(kind) && isReady()
    )
    if (ready.length === 0) {
      this.#passTime(IDLE_STEPS - 1)
      await nextTurn()
      return IDLE_STEPS
    }
    const call = this.#dice.pick(ready)
    const { actor } = call
    if (this.#dice.chance(this.sleepChance)) {
      actor.asleepFor = this.#dice.below(MAX_SLEEP)
      return 1
    }
    this.#waiting.splice(this.#waiting.indexOf(call), 1)
    const isLast = actor.callsLeft-- <= 0
    if (isLast) this.#crash(actor)
    if (!isLast || this.#dice.chance(0.5)) await call.run(!isLast)
    await nextTurn()
    return 1
  }

  #passTime(steps: number): void {
    for (const actor of this.#actors) actor.asleepFor = Math.max(0, actor.asleepFor - steps)
  }

  #crash(actor: Actor): void {
    this.#crashes++
    actor.condition = 'crashed'
    this.#actors.delete(actor)
    actor.onCrash()
    for (let at = this.#waiting.length - 1; at >= 0; at--) {
      if (this.#waiting[at]?.actor === actor) this.#waiting.splice(at, 1)
    }
  }
}
