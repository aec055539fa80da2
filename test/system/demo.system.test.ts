import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals'
import { projectFile } from '../../experiments/support/agent-process.ts'

jest.setTimeout(120_000)

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'blobswarm-demo-test-'))
})
afterEach(async () => rm(folder, { recursive: true, force: true }))

interface Ended {
  readonly code: number | null
  readonly output: string
  /** Agents that the demo said it started. */
  readonly pids: readonly number[]
}

/** Runs the demo with a small image and interrupts it when a line of its output matches. */
async function demo(interruptAt?: RegExp, args: readonly string[] = []): Promise<Ended> {
  const run = ['experiments/demo/run.ts', '--mib', '16', '--builtin-client', ...args]
  const child = spawn(process.execPath, run, {
    cwd: projectFile(),
    env: { ...process.env, TMPDIR: folder, NODE_OPTIONS: '' },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  let output = ''
  const take = (line: string): void => {
    output += `${line}\n`
    if (interruptAt?.test(line) === true) child.kill('SIGINT')
  }
  createInterface({ input: child.stdout }).on('line', take)
  createInterface({ input: child.stderr }).on('line', take)
  const [code] = (await once(child, 'close')) as [number | null]
  const pids = Array.from(output.matchAll(/\(pid (\d+)\)/g), ([, pid]) => Number(pid))
  return { code, output, pids }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

test('the demo deploys two versions, prints its table and leaves nothing behind, however it is left', async () => {
  const { code, output, pids } = await demo(/everything keeps running/, ['--keep'])

  expect({ code, output: code === 0 ? '' : output }).toEqual({ code: 0, output: '' })
  expect(output.match(/SHA-256 equal on all/g)).toHaveLength(2)
  expect(output).toMatch(/from provider .*from peers .*reused .*stored/)
  expect(pids).toHaveLength(4)
  expect(pids.filter(isAlive)).toEqual([])
  expect(await readdir(folder)).toEqual([])
})

test.each([
  ['while agents start', /^upload client/],
  ['while it pulls', /^hypervisor . \[/]
])('Ctrl-C %s leaves no process and no file', async (_when, line) => {
  const { code, pids } = await demo(line)

  expect(code).toBe(130)
  expect(pids.filter(isAlive)).toEqual([])
  expect(await readdir(folder)).toEqual([])
})
