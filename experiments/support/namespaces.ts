import { runProgram } from './agent-process.ts'

/**
 * Hosts as network namespaces on one bridge of a namespace of its own; the machine's own network is not
 * touched. Needs root and iproute2. Host i has the address 10.77.0.(i + 1).
 */
export class Namespaces {
  readonly #prefix: string
  readonly #count: number

  constructor(count: number, prefix = `bsw${process.pid}x`) {
    this.#count = count
    this.#prefix = prefix
  }

  address(host: number): string {
    return `10.77.0.${host + 1}`
  }

  /** What to put before a command line so that it runs on that host. */
  prefix(host: number): string[] {
    return ['ip', 'netns', 'exec', `${this.#prefix}${host}`]
  }

  /** @param rateMbit limit of each host's link in each direction; undefined for none. */
  async up(rateMbit?: number): Promise<void> {
    const hub = `${this.#prefix}hub`
    await ip('netns', 'add', hub)
    await ip('-n', hub, 'link', 'add', 'br0', 'type', 'bridge')
    await ip('-n', hub, 'link', 'set', 'br0', 'up')
    for (let host = 0; host < this.#count; host++) {
      const name = `${this.#prefix}${host}`
      await ip('netns', 'add', name)
      await ip('-n', name, 'link', 'set', 'lo', 'up')
      await ip(
        '-n',
        hub,
        'link',
        'add',
        `p${host}`,
        'type',
        'veth',
        'peer',
        'name',
        'eth0',
        'netns',
        name
      )
      await ip('-n', hub, 'link', 'set', `p${host}`, 'master', 'br0', 'up')
      await ip('-n', name, 'addr', 'add', `${this.address(host)}/16`, 'dev', 'eth0')
      await ip('-n', name, 'link', 'set', 'eth0', 'up')
      if (rateMbit !== undefined) {
        const limit = ['tbf', 'rate', `${rateMbit}mbit`, 'burst', '32kb', 'latency', '100ms']
        await tc('-n', name, 'qdisc', 'add', 'dev', 'eth0', 'root', ...limit)
        await tc('-n', hub, 'qdisc', 'add', 'dev', `p${host}`, 'root', ...limit)
      }
    }
  }

  /** Bytes that a host has sent and received on its link, headers included. */
  async wireBytes(host: number): Promise<{ sent: number; received: number }> {
    const text = await ip('-n', `${this.#prefix}${host}`, '-s', '-j', 'link', 'show', 'eth0')
    const [link] = JSON.parse(text) as { stats64: Record<'tx' | 'rx', { bytes: number }> }[]
    return { sent: link?.stats64.tx.bytes ?? 0, received: link?.stats64.rx.bytes ?? 0 }
  }

  /** Removes everything, however far `up` came. Processes on the hosts must have ended. */
  async down(): Promise<void> {
    const names = [`${this.#prefix}hub`]
    for (let host = 0; host < this.#count; host++) names.push(`${this.#prefix}${host}`)
    for (const name of names) await runProgram('ip', ['netns', 'del', name])
  }
}

async function ip(...args: string[]): Promise<string> {
  return run('ip', args)
}

async function tc(...args: string[]): Promise<string> {
  return run('tc', args)
}

async function run(program: string, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runProgram(program, args)
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr.trim()}`)
  return stdout
}
