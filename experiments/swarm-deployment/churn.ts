import { setTimeout as sleep } from 'node:timers/promises'
import type { Play } from './play.ts'

const RETRY_MS = 100
const MAX_NOTES = 20

/** Kills one host after the other and starts it again, until all have the image. */
export class Churn {
  readonly #play: Play
  readonly #restarts = new Map<number, Promise<void>>()
  #kills = 0

  constructor(play: Play) {
    this.#play = play
  }

  async run(): Promise<void> {
    const { stage, signal, notes } = this.#play
    const allDone = new AbortController()
    const killing = this.#kill(AbortSignal.any([allDone.signal, signal]))
    await Promise.all(stage.hosts.map(async (host) => this.#fetchUntilDone(host)))
    allDone.abort()
    await killing
    await Promise.all(this.#restarts.values())
    notes.push(`${this.#kills} kills`)
  }

  /** Hosts that are done are killed in their turn like all others. */
  async #kill(signal: AbortSignal): Promise<void> {
    const { hosts, setting } = this.#play.stage
    for (let turn = 0; !signal.aborted; turn++) {
      await sleep(setting.killEverySeconds * 1000, undefined, { signal }).catch(() => {})
      const host = hosts[turn % hosts.length]
      if (signal.aborted || host === undefined || this.#restarts.has(host)) continue
      this.#kills++
      this.#restarts.set(
        host,
        this.#restart(host).finally(() => this.#restarts.delete(host))
      )
    }
  }

  async #restart(host: number): Promise<void> {
    const { swarm, notes } = this.#play
    try {
      await swarm.kill(host)
      await swarm.restart(host)
    } catch (error) {
      notes.push(`host ${host} does not start again: ${String(error)}`)
    }
  }

  async #fetchUntilDone(host: number): Promise<void> {
    const { swarm, signal, askedMs, doneMs, notes, measurement } = this.#play
    askedMs.set(host, measurement.startedMs)
    while (!signal.aborted && !doneMs.has(host)) {
      try {
        doneMs.set(host, await swarm.fetch(host, signal))
      } catch (error) {
        const restart = this.#restarts.get(host)
        if (restart === undefined && notes.length < MAX_NOTES) {
          notes.push(`host ${host}: ${signal.aborted ? 'not done in time' : String(error)}`)
        }
        await (restart ?? sleep(RETRY_MS))
      }
    }
  }
}
