import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, jest, test } from '@jest/globals'
import { burstBytes, type LinkLimit } from '../../experiments/testbed/link-limit.ts'
import { type FoundTestbed, findTestbeds } from '../../experiments/testbed/namespace-names.ts'
import { transfer } from '../../experiments/testbed/tcp-transfer.ts'
import { Testbed, type TestbedOptions } from '../../experiments/testbed/testbed.ts'
import { WireReader } from '../../experiments/testbed/wire-reader.ts'
import { RunningProgram, testWith } from '../support/programs.ts'
import { canMakeNamespaces } from '../support/testbed.ts'

const HOLDER = fileURLToPath(new URL('../support/testbed-holder.ts', import.meta.url))
/** Names of other runs on this machine are none of ours. */
const LABEL = `test${process.pid}`
const MBIT = 1e6 / 8

jest.setTimeout(30_000)

const testWithHosts = canMakeNamespaces() ? testWith : skipped

function skipped(_programs: readonly string[], name: string): void {
  test.skip(`${name} (skipped: needs root and network namespaces)`, () => {})
}

async function withTestbed<T>(
  options: Omit<TestbedOptions, 'label'>,
  work: (testbed: Testbed) => Promise<T>
): Promise<T> {
  const testbed = await Testbed.up({ ...options, label: LABEL })
  try {
    return await work(testbed)
  } finally {
    await testbed.down()
  }
}

async function found(label: string): Promise<FoundTestbed | undefined> {
  return (await findTestbeds()).find(({ owner }) => owner.label === label)
}

/** Nobody may have taken note of its end yet. */
function isRunning(pid: string | undefined): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

function limitHostZero(host: number): LinkLimit {
  return host === 0 ? { upMbit: 20 } : {}
}

testWithHosts(
  ['ip', 'tc'],
  'a link carries what it is limited to, and its bytes and packets are counted',
  async () => {
    const bytes = 8_000_000

    const { mbit, counted, read } = await withTestbed(
      { hosts: 2, limit: () => ({ upMbit: 50, downMbit: 50 }) },
      async (testbed) => {
        const reader = await WireReader.open(testbed)
        const result = await transfer(testbed, 0, 1, bytes)
        return { ...result, counted: await testbed.wire(), read: reader.read() }
      }
    )

    expect(mbit).toBeGreaterThan(45)
    expect(mbit).toBeLessThanOrEqual(50)
    expect(counted[0]?.sentBytes).toBeGreaterThan(bytes * 1.04)
    expect(counted[1]?.receivedBytes).toBeGreaterThan(bytes * 1.04)
    expect(read[1]?.receivedBytes).toBeGreaterThanOrEqual(counted[1]?.receivedBytes ?? Infinity)
    // None is longer than the link's MTU of 1500 and its header, nor are many shorter.
    expect(read[1]?.receivedPackets).toBeGreaterThan(bytes / 1514)
    expect(read[1]?.receivedPackets).toBeLessThan((bytes / 1448) * 1.1)
    expect(await found(LABEL)).toBeUndefined()
  }
)

testWithHosts(['ip', 'tc'], 'the limits of a link are its own in each direction', async () => {
  const [slow, fast] = await withTestbed({ hosts: 2, limit: limitHostZero }, async (testbed) => [
    await transfer(testbed, 0, 1, 10 * MBIT),
    await transfer(testbed, 1, 0, 10 * MBIT)
  ])

  expect(slow?.mbit).toBeLessThanOrEqual(20.5)
  expect(fast?.mbit).toBeGreaterThan(40)
})

testWithHosts(['ip', 'tc'], 'what a killed run has left is removed by the next one', async () => {
  const holder = new RunningProgram(process.execPath, [HOLDER, `${LABEL}killed`])
  const [, , child] = await holder.printed(/up (\d+) (\d+)/)
  holder.kill()
  await holder.ended()
  const before = await found(`${LABEL}killed`)

  await withTestbed({ hosts: 1 }, async () => {})

  expect(before?.names).toHaveLength(3)
  expect(before?.isOwnerAlive).toBe(false)
  expect(await found(`${LABEL}killed`)).toBeUndefined()
  expect(isRunning(child)).toBe(false)
})

testWithHosts(['ip', 'tc'], 'a run that is told to end takes everything down', async () => {
  const holder = new RunningProgram(process.execPath, [HOLDER, `${LABEL}told`])
  const [, , child] = await holder.printed(/up (\d+) (\d+)/)
  holder.child.kill('SIGTERM')
  await holder.ended()

  expect(holder.child.signalCode).toBe('SIGTERM')
  expect(await found(`${LABEL}told`)).toBeUndefined()
  expect(isRunning(child)).toBe(false)
})

test('a bucket holds what the rate gives in a tick, and a few packets at least', () => {
  expect(burstBytes(1000, 1500)).toBe(500_000)
  expect(burstBytes(10, 1500)).toBe(32 * 1024)
  expect(burstBytes(10, 9000)).toBe(4 * 9014)
})
