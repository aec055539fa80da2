import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { createInterface } from 'node:readline'

/** One session of a scripted server: takes commands and answers as the test says. */
export class ScriptedSession {
  /** The control connection. */
  readonly socket: Socket
  readonly #lines: AsyncIterator<string>
  readonly #resources: Set<Socket | Server>

  constructor(socket: Socket, resources: Set<Socket | Server>) {
    this.socket = socket
    this.#lines = createInterface({ input: socket })[Symbol.asyncIterator]()
    this.#resources = resources
  }

  /** Sends lines as they are. */
  say(...lines: readonly string[]): void {
    this.socket.write(lines.map((line) => `${line}\r\n`).join(''))
  }

  /** Takes the next command, which must start like this, answers, and returns the command. */
  async on(start: string, ...answer: readonly string[]): Promise<string> {
    const { value, done } = await this.#lines.next()
    if (done === true || !value.startsWith(start)) {
      throw new Error(`expected ${start}, got ${done === true ? 'the end' : value}`)
    }
    this.say(...answer)
    return value
  }

  /** Greets, and takes the login and TYPE. */
  async greet(): Promise<void> {
    this.say('220 scripted')
    await this.on('USER', '331 password?')
    await this.on('PASS', '230 in')
    await this.on('TYPE I', '200 binary')
  }

  /** Answers PASV; gives the data connections as they come. */
  async passive(): Promise<() => Promise<Socket>> {
    const waiting: Socket[] = []
    const arrivals: ((socket: Socket) => void)[] = []
    const server = createServer({ pauseOnConnect: true }, (socket) => {
      this.#keep(socket)
      const taker = arrivals.shift()
      if (taker === undefined) waiting.push(socket)
      else taker(socket)
    })
    this.#resources.add(server)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    await this.on('PASV', `227 Entering Passive Mode (127,0,0,1,${port >> 8},${port & 255})`)
    return async () => {
      const socket = waiting.shift()
      return socket ?? new Promise((resolve) => arrivals.push(resolve))
    }
  }

  /** Answers PORT; makes data connections, from `localAddress` if given. */
  async active(): Promise<(localAddress?: string) => Promise<Socket>> {
    const line = await this.on('PORT', '200 fine')
    const [high = 0, low = 0] = line.split(',').slice(-2).map(Number)
    return async (localAddress) => {
      const address = { host: '127.0.0.1', port: high * 256 + low }
      const socket = this.#keep(
        connect(localAddress === undefined ? address : { ...address, localAddress })
      )
      await once(socket, 'connect')
      return socket
    }
  }

  #keep(socket: Socket): Socket {
    this.#resources.add(socket)
    return socket.on('error', () => undefined)
  }
}

export interface ScriptedServer {
  readonly port: number
  /** Rejects if the script did not go as written. */
  readonly played: Promise<void>
  stop(): Promise<void>
}

/** Starts a server that plays one session with the first client that comes. */
export async function playFtpServer(
  script: (session: ScriptedSession) => Promise<void>
): Promise<ScriptedServer> {
  const resources = new Set<Socket | Server>()
  const played = Promise.withResolvers<void>()
  played.promise.catch(() => undefined)
  const server = createServer({ noDelay: true }, (socket) => {
    resources.add(socket.on('error', () => undefined))
    script(new ScriptedSession(socket, resources)).then(played.resolve, (error: unknown) => {
      played.reject(error)
      socket.destroy()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const stop = async (): Promise<void> => {
    for (const resource of resources) {
      if ('destroy' in resource) resource.destroy()
      else resource.close()
    }
    server.close()
    await once(server, 'close')
  }
  return { port, played: played.promise, stop }
}
