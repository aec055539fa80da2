import { join } from 'node:path'
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals'
import { runCli } from '../../../src/agent/cli.ts'
import { ControlServer } from '../../../src/agent/control-server.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import { RecordedOperations } from '../../support/recorded-operations.ts'
import { temporaryFolders } from '../../support/temporary-folder.ts'

const newFolder = temporaryFolders()
let socket: string
let stdout: string
let operations: RecordedOperations
let server: ControlServer
beforeEach(async () => {
  socket = join(await newFolder(), 'control.sock')
  operations = new RecordedOperations()
  server = new ControlServer(operations, noLogger, socket)
  await server.start()
  stdout = ''
  jest.spyOn(process.stdout, 'write').mockImplementation((text, encoding, callback) => {
    stdout += String(text)
    const done = typeof encoding === 'function' ? encoding : callback
    done?.()
    return true
  })
})
afterEach(async () => {
  jest.restoreAllMocks()
  process.exitCode = 0
  await server.stop()
})

/** Runs a command line. @returns its exit code. */
async function run(...args: string[]): Promise<number> {
  await runCli([...args, '--socket', socket], {})
  const { exitCode = 0 } = process
  process.exitCode = 0
  return Number(exitCode)
}

const RESULT = {
  ref: '/a',
  chunks: 10,
  zeroChunks: 2,
  copies: 16,
  intact: 13,
  checked: 0,
  confirmed: 5,
  missing: 2,
  corrupt: 1,
  underReplicated: 3,
  unreachableProviders: 1,
  repaired: 0
}

test('tells what is wrong, and exits with 5', async () => {
  operations.verify = async () => RESULT

  expect(await run('verify', '/a')).toBe(5)

  expect(stdout).toBe(
    '/a: 10 chunks, 2 zero, 13 of 16 copies intact, 2 chunks missing, 1 corrupt, ' +
      '3 under-replicated, 0 repaired, 1 providers not reached\n'
  )
})

test('exits with 0 when all that was wrong is mended', async () => {
  operations.verify = async () => ({ ...RESULT, repaired: 3 })

  expect(await run('verify', '/a', '--repair')).toBe(0)
})

test('does not take too few copies for damage', async () => {
  operations.verify = async () => ({ ...RESULT, missing: 0, corrupt: 0 })

  expect(await run('verify', '/a', '--json')).toBe(0)

  expect(JSON.parse(stdout)).toMatchObject({ underReplicated: 3 })
})
