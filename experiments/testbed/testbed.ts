import { checkMachine, iproute, TestbedError } from './iproute.ts'
import { type LinkLimit, limitCommand, type QueueShape } from './link-limit.ts'
import {
  findTestbeds,
  ownerHere,
  prefixOf,
  removeLeftovers,
  removeNamespaces
} from './namespace-names.ts'

export interface TestbedOptions {
  /** How many there are; host i has the address 10.77.0.0 + i + 1. */
  readonly hosts: number
  /** Limits of each host's link; none if left out. They can be changed later. */
  readonly limit?: (host: number) => LinkLimit
  /** @default 1500 */
  readonly mtu?: number
  /** Length of the queue before each limited link, each way. @default 100 */
  readonly queueMs?: number
  /**
   * Congestion control of TCP on all hosts, one of those in net.ipv4.tcp_allowed_congestion_control. @default that of
   * the machine
   */
  readonly congestion?: string | undefined
  /** Tells testbeds of one process apart; lower-case letters and digits. @default 'run' */
  readonly label?: string
  /** Called after a signal has taken the testbed down, before it ends the process. */
  readonly onEnding?: () => void
}

/** What a host has sent and received on its link, headers from Ethernet on. */
export interface WireCounters {
  readonly sentBytes: number
  readonly receivedBytes: number
}

const MAX_HOSTS = 1000
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Hosts as network namespaces on one bridge in a namespace of its own; the machine's own network is not
 * touched. Each host has one link, limited each way by a token bucket filter at its end that sends. A process that is
 * told to end (SIGINT, SIGTERM, SIGHUP) takes its testbed down first; what a killed one has left, processes included,
 * is removed when the next begins.
 */
export class Testbed {
  readonly hosts: number
  readonly #prefix: string
  readonly #shape: QueueShape
  readonly #congestion: string | undefined
  readonly #onEnding: () => void
  readonly #onSignal = (signal: NodeJS.Signals): void => void this.#endBy(signal)

  private constructor(prefix: string, options: TestbedOptions) {
    const { hosts, mtu = 1500, queueMs = 100, congestion, onEnding = () => {} } = options
    this.hosts = hosts
    this.#prefix = prefix
    this.#shape = { mtu, queueMs }
    this.#congestion = congestion
    this.#onEnding = onEnding
  }

  /** @throws {TestbedError} without root, iproute2 or tc, or where namespaces cannot be made. */
  static async up(options: TestbedOptions): Promise<Testbed> {
    const { hosts, limit = () => ({}), label = 'run' } = options
    if (!(Number.isSafeInteger(hosts) && hosts >= 1 && hosts <= MAX_HOSTS)) {
      throw new RangeError(`${hosts} hosts: there are 1 to ${MAX_HOSTS}`)
    }
    await checkMachine()
    await removeLeftovers()
    const testbed = new Testbed(prefixOf(await ownerHere(label)), options)
    for (const signal of SIGNALS) process.on(signal, testbed.#onSignal)
    try {
      await testbed.#build()
      await testbed.setLimits(limit)
      return testbed
    } catch (error) {
      await testbed.down()
      throw error
    }
  }

  /** @throws {TestbedError} if there is no testbed of that label whose owner lives. */
  static async find(label: string): Promise<{ readonly pid: number; readonly prefix: string }> {
    const found = (await findTestbeds()).find((it) => it.isOwnerAlive && it.owner.label === label)
    if (found === undefined) throw new TestbedError('no testbed is up')
    return { pid: found.owner.pid, prefix: prefixOf(found.owner) }
  }

  address(host: number): string {
    return addressOf(host)
  }

  /** What to put before a command line so that it runs on that host, or beside the bridge. */
  prefix(host: number | 'hub'): string[] {
    return ['ip', 'netns', 'exec', this.#name(host)]
  }

  /** Changes the limits of every link; what waits in its queue is dropped. */
  async setLimits(limit: (host: number) => LinkLimit): Promise<void> {
    const lines: string[] = []
    for (let host = 0; host < this.hosts; host++) {
      const { upMbit, downMbit } = limit(host)
      lines.push(limitCommand(`p${host}`, downMbit, this.#shape))
      await iproute('tc', ['-n', this.#name(host)], [limitCommand('eth0', upMbit, this.#shape)])
    }
    await iproute('tc', ['-n', this.#name('hub')], lines)
  }

  /** What has passed each host's link since it is up. */
  async wire(): Promise<WireCounters[]> {
    const text = await iproute('ip', ['-n', this.#name('hub'), '-s', '-j', 'link', 'show'])
    const links = JSON.parse(text) as {
      readonly ifname: string
      readonly stats64: Record<'tx' | 'rx', { readonly bytes: number }>
    }[]
    const byName = new Map(links.map((link) => [link.ifname, link.stats64]))
    return Array.from({ length: this.hosts }, (_, host) => {
      const counted = byName.get(`p${host}`)
      return {
        sentBytes: counted?.rx.bytes ?? 0,
        receivedBytes: counted?.tx.bytes ?? 0
      }
    })
  }

  /** Ends what runs on the hosts and removes everything, however far `up` came. Harmless when called twice. */
  async down(): Promise<void> {
    const found = (await findTestbeds()).find(({ owner }) => prefixOf(owner) === this.#prefix)
    if (found !== undefined) await removeNamespaces(found.names)
    for (const signal of SIGNALS) process.off(signal, this.#onSignal)
  }

  #name(host: number | 'hub'): string {
    return `${this.#prefix}-${host}`
  }

  async #build(): Promise<void> {
    const hosts = Array.from({ length: this.hosts }, (_, host) => host)
    const { mtu } = this.#shape
    const hub = this.#name('hub')
    const names = [hub, ...hosts.map((host) => this.#name(host))]
    await iproute(
      'ip',
      [],
      names.map((name) => `netns add ${name}`)
    )
    await iproute(
      'ip',
      ['-n', hub],
      [
        'link set lo up',
        // Nobody looks for groups or loops here, and a bridge that does loses the first seconds.
        'link add br0 type bridge mcast_snooping 0 stp_state 0 forward_delay 0',
        `link set br0 mtu ${mtu} up`,
        ...hosts.flatMap((host) => [
          `link add p${host} mtu ${mtu} type veth peer name eth0 mtu ${mtu} netns ${this.#name(host)}`,
          `link set p${host} master br0 up`
        ])
      ]
    )
    await this.#endFilters()
    for (const host of hosts) {
      await this.#endOffloads(host)
      await iproute(
        'ip',
        ['-n', this.#name(host)],
        ['link set lo up', `addr add ${addressOf(host)}/16 dev eth0`, 'link set eth0 up']
      )
      await this.#setTcp(host)
    }
  }

  /**
   * Packets on the wire are as long as on a real one, and so counted. The first way cuts them just before the link; the
   * second, for machines without ethtool, in TCP, which costs three times the processor.
   */
  async #endOffloads(host: number): Promise<void> {
    const command = ['ethtool', '-K', 'eth0', 'tso', 'off', 'gso', 'off', 'gro', 'off']
    try {
      await iproute('ip', ['netns', 'exec', this.#name(host), ...command])
    } catch (error) {
      if (!(error instanceof TestbedError)) throw error
      await iproute('ip', ['-n', this.#name(host), 'link', 'set', 'eth0', 'gso_max_segs', '1'])
    }
  }

  /** The machine's own packet filters, where bridges pass through them, are no part of a network. */
  async #endFilters(): Promise<void> {
    const settings = ['ip', 'ip6', 'arp'].map((it) => `net.bridge.bridge-nf-call-${it}tables=0`)
    // Without bridge netfilter there is nothing to end.
    const command = ['sysctl', '-qew', ...settings]
    await iproute('ip', ['netns', 'exec', this.#name('hub'), ...command])
  }

  async #setTcp(host: number): Promise<void> {
    const values = ['tcp_slow_start_after_idle=0']
    if (this.#congestion !== undefined) values.push(`tcp_congestion_control=${this.#congestion}`)
    const settings = values.map((value) => `net.ipv4.${value}`)
    await iproute('ip', ['netns', 'exec', this.#name(host), 'sysctl', '-qw', ...settings])
  }

  async #endBy(signal: NodeJS.Signals): Promise<void> {
    try {
      await this.down()
    } catch (error) {
      process.stderr.write(`${String(error)}\n`)
      for (const each of SIGNALS) process.off(each, this.#onSignal)
    }
    this.#onEnding()
    process.kill(process.pid, signal)
  }
}

/** Of any testbed. */
export function addressOf(host: number): string {
  const number = host + 1
  return `10.77.${number >> 8}.${number & 255}`
}
