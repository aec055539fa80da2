import { once } from 'node:events'
import net from 'node:net'

// Narrow links without network namespaces: forwards TCP connections in pieces of one Ethernet packet each, at
// the pace of the link of the agent behind it. Forked by crowd.ts with a list of links.

interface Link {
  /** Port to listen on, and the agent's own. */
  readonly from: number
  to: number
}

const PACKET_BYTES = 1448
const TICK_MS = 1

/** Bytes that a link may carry in one direction, refilled on every tick. */
class Lane {
  readonly #bytesPerTick: number
  readonly #waiting: (() => void)[] = []
  #left = 0

  constructor(bytesPerSecond: number) {
    this.#bytesPerTick = (bytesPerSecond * TICK_MS) / 1000
  }

  refill(elapsedMs: number): void {
    const most = Math.max(4 * this.#bytesPerTick, 2 * PACKET_BYTES)
    this.#left = Math.min(this.#left + (this.#bytesPerTick * elapsedMs) / TICK_MS, most)
    while (this.#left > 0 && this.#waiting.length > 0) {
      this.#left -= PACKET_BYTES
      this.#waiting.shift()?.()
    }
  }

  /** Waits for the turn of one packet; whoever waits longest is first. */
  async turn(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#waiting.push(resolve)
    await promise
  }
}

const { ports, bytesPerSecond } = JSON.parse(process.argv[2] ?? '') as {
  ports: number[]
  bytesPerSecond: number
}
const lanes: Lane[] = []
for (const port of ports) await listen({ from: port, to: 0 })
let last = performance.now()
setInterval(() => {
  const now = performance.now()
  for (const lane of lanes) lane.refill(now - last)
  last = now
}, TICK_MS)
process.send?.('ready')
process.on('disconnect', () => process.exit())

async function listen(link: Link): Promise<void> {
  const inward = new Lane(bytesPerSecond)
  const outward = new Lane(bytesPerSecond)
  lanes.push(inward, outward)
  process.on('message', (to: Record<string, number>) => {
    link.to = to[link.from] ?? link.to
  })
  const server = net.createServer({ noDelay: true }, (near) => {
    const far = net.connect({ port: link.to, host: '127.0.0.1', noDelay: true })
    for (const [one, other] of [
      [near, far],
      [far, near]
    ] as const) {
      one.on('error', () => other.destroy())
      one.on('close', () => other.destroy())
    }
    void forward(near, far, inward)
    void forward(far, near, outward)
  })
  server.listen(link.from, '127.0.0.1')
  await once(server, 'listening')
}

async function forward(from: net.Socket, to: net.Socket, lane: Lane): Promise<void> {
  try {
    for await (const bytes of from as AsyncIterable<Buffer>) {
      for (let at = 0; at < bytes.byteLength; at += PACKET_BYTES) {
        await lane.turn()
        to.write(bytes.subarray(at, at + PACKET_BYTES))
      }
    }
    to.end()
  } catch {
    to.destroy()
  }
}
