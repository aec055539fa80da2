import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { TestbedError } from './iproute.ts'
import type { Testbed } from './testbed.ts'

/** What has passed a host's link, headers from Ethernet on, seen from the host. */
export interface LinkCounters {
  readonly sentBytes: number
  readonly sentPackets: number
  readonly receivedBytes: number
  readonly receivedPackets: number
}

const START_WITHIN_MS = 5000
const POLL_MS = 5

/**
 * Reads the counters of all links often and cheaply: /proc/PID/net/dev of a process that sleeps beside the bridge, so
 * that a look starts no program.
 */
export class WireReader {
  readonly #hosts: number
  readonly #sleeper: ChildProcess

  private constructor(hosts: number, sleeper: ChildProcess) {
    this.#hosts = hosts
    this.#sleeper = sleeper
  }

  /** @throws {TestbedError} if the process beside the bridge cannot be started. */
  static async open(testbed: Testbed): Promise<WireReader> {
    const [program, ...args] = [...testbed.prefix('hub'), 'sleep', 'infinity'] as const
    const reader = new WireReader(testbed.hosts, spawn(program, args, { stdio: 'ignore' }))
    // `ip` changes the namespace a moment after it was started.
    for (const endMs = performance.now() + START_WITHIN_MS; !reader.#isThere(); ) {
      if (performance.now() > endMs) {
        await reader.close()
        throw new TestbedError('nothing beside the bridge can be started')
      }
      await new Promise((resolve) => {
        setTimeout(resolve, POLL_MS)
      })
    }
    return reader
  }

  /** Counters of host 0, 1, … at this very moment; takes some ten microseconds. */
  read(): LinkCounters[] {
    const text = readFileSync(`/proc/${this.#sleeper.pid}/net/dev`, 'utf8')
    const lines = new Map(
      text.split('\n').map((line) => {
        const [name = '', rest = ''] = line.split(':')
        return [name.trim(), rest.trim().split(/\s+/).map(Number)] as const
      })
    )
    return Array.from({ length: this.#hosts }, (_, host) => {
      // received: bytes packets errs drop fifo frame compressed multicast, then sent: bytes packets …; of the bridge's end
      const fields = lines.get(`p${host}`) ?? []
      return {
        sentBytes: fields[0] ?? 0,
        sentPackets: fields[1] ?? 0,
        receivedBytes: fields[8] ?? 0,
        receivedPackets: fields[9] ?? 0
      }
    })
  }

  async close(): Promise<void> {
    if (this.#sleeper.exitCode !== null || this.#sleeper.signalCode !== null) return
    this.#sleeper.kill('SIGKILL')
    await once(this.#sleeper, 'exit')
  }

  #isThere(): boolean {
    try {
      return readFileSync(`/proc/${this.#sleeper.pid}/net/dev`, 'utf8').includes(' p0:')
    } catch {
      return false
    }
  }
}
