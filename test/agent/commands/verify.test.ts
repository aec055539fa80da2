import { expect, test } from '@jest/globals'
import { commandLineStage } from '../../support/command-line-stage.ts'

const stage = commandLineStage()

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
  stage.operations.verify = async () => RESULT

  expect(await stage.run('verify', '/a')).toBe(5)

  expect(stage.stdout).toBe(
    '/a: 10 chunks, 2 zero, 13 of 16 copies intact, 2 chunks missing, 1 corrupt, ' +
      '3 under-replicated, 0 repaired, 1 providers not reached\n'
  )
})

test('exits with 0 when all that was wrong is mended', async () => {
  stage.operations.verify = async () => ({ ...RESULT, repaired: 3 })

  expect(await stage.run('verify', '/a', '--repair')).toBe(0)
})

test('does not take too few copies for damage', async () => {
  stage.operations.verify = async () => ({ ...RESULT, missing: 0, corrupt: 0 })

  expect(await stage.run('verify', '/a', '--json')).toBe(0)

  expect(JSON.parse(stage.stdout)).toMatchObject({ underReplicated: 3 })
})
