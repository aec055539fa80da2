import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { toHex } from '../../src/lib/bytes.ts'
import { secureBytes } from '../../src/lib/random.ts'
import { median } from '../support/figures.ts'

// What a connection costs both its ends, from dialling to the end of hello: see README.md.

const { values } = parseArgs({
  options: {
    processes: { type: 'string', default: '12' },
    nodes: { type: 'string', default: '1' },
    repetitions: { type: 'string', default: '3' },
    trees: { type: 'string', default: '' }
  }
})

// What comes after hello.
const SETTLE_MS = 1000
const here = fileURLToPath(new URL('../..', import.meta.url))
const trees = values.trees === '' ? [here] : values.trees.split(',')
const results = new Map<string, number[]>(trees.map((tree) => [tree, []]))
for (let n = 0; n < Number(values.repetitions); n++) {
  for (const tree of n % 2 === 0 ? trees : trees.toReversed()) {
    results.get(tree)?.push(await connectPairwise(tree))
  }
}
for (const [tree, costs] of results) {
  const list = costs.map((cost) => cost.toFixed(1)).join(', ')
  process.stdout.write(
    `${tree}: ${median(costs, (cost) => cost).toFixed(1)} ms of processor (${list})\n`
  )
}

/** Connects every node to every other one. @returns milliseconds of processor for a connection. */
async function connectPairwise(tree: string): Promise<number> {
  const seed = toHex(secureBytes(32))
  const program = `${tree}/experiments/transfer/connections-end.ts`
  const execArgv = [...process.execArgv, '--max-semi-space-size=8', '--heap-growing-percent=25']
  const children = Array.from({ length: Number(values.processes) }, () =>
    fork(program, [seed, values.nodes], { execArgv })
  )
  const exited = children.map(async (child) => once(child, 'exit'))
  try {
    const opened = await Promise.all(children.map(async (child) => answerOf(child)))
    const { jobs, count } = jobsOf(opened as { addresses: string[] }[])
    const before = await usageOf(children)
    await Promise.all(
      children.map(async (child, at) => ask(child, { call: 'connect', jobs: jobs[at] }))
    )
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
    return ((await usageOf(children)) - before) / count
  } finally {
    for (const child of children) child.send({ call: 'stop' })
    await Promise.all(exited)
  }
}

/** Each node connects to those before it. */
function jobsOf(opened: readonly { readonly addresses: readonly string[] }[]) {
  const jobs: [number, string][][] = opened.map(() => [])
  const earlier: string[] = []
  let count = 0
  for (const [at, { addresses }] of opened.entries()) {
    for (const [node, address] of addresses.entries()) {
      for (const other of earlier) jobs[at]?.push([node, other])
      count += earlier.length
      earlier.push(address)
    }
  }
  return { jobs, count }
}

async function usageOf(children: readonly ChildProcess[]): Promise<number> {
  const usages = await Promise.all(children.map(async (child) => ask(child, { call: 'usage' })))
  return (usages as NodeJS.CpuUsage[]).reduce(
    (sum, { user, system }) => sum + (user + system) / 1000,
    0
  )
}

async function ask(child: ChildProcess, call: object): Promise<unknown> {
  child.send(call)
  return answerOf(child)
}

async function answerOf(child: ChildProcess): Promise<unknown> {
  const [answer] = (await once(child, 'message')) as [unknown]
  return answer
}
