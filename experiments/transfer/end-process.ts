import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Call, End, EndSettings, Usage } from './ends.ts'

/** What bin/blobswarm runs agents with. */
const AS_AN_AGENT = {
  execArgv: [...process.execArgv, '--max-semi-space-size=8', '--heap-growing-percent=25'],
  env: { ...process.env, MALLOC_ARENA_MAX: '2', MALLOC_TRIM_THRESHOLD_: '1048576' }
}

type Opened = Pick<End, 'address' | 'ids' | 'ownPort'>

/** An end of a transfer as a process of its own. */
export class EndProcess {
  readonly pid: number
  readonly address: string
  readonly ids: string
  /** Port that it listens on itself. */
  readonly own: number
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, opened: Opened) {
    this.#child = child
    this.pid = child.pid ?? 0
    this.address = opened.address
    this.ids = opened.ids ?? ''
    this.own = opened.ownPort ?? 0
  }

  /** @param tree checkout whose code is run, to compare two. */
  static async start(settings: EndSettings, tree: string | undefined): Promise<EndProcess> {
    const here = fileURLToPath(new URL('end.ts', import.meta.url))
    const program = tree === undefined ? here : `${tree}/experiments/transfer/end.ts`
    const child = fork(program, [JSON.stringify(settings)], AS_AN_AGENT)
    const [opened] = (await once(child, 'message')) as [Opened]
    return new EndProcess(child, opened)
  }

  async fetch(addresses: readonly string[], ids: string): Promise<number> {
    const { ms } = (await this.#ask({ call: 'fetch', addresses, ids })) as { ms: number }
    return ms
  }

  async usage(): Promise<Usage> {
    return (await this.#ask({ call: 'usage' })) as Usage
  }

  async stop(): Promise<void> {
    const exited = once(this.#child, 'exit')
    await this.#ask({ call: 'stop' })
    await exited
  }

  async #ask(call: Call): Promise<unknown> {
    this.#child.send(call)
    const [answer] = (await once(this.#child, 'message')) as [unknown]
    return answer
  }
}
