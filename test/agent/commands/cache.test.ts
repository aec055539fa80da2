import { describe, expect, test } from '@jest/globals'
import { ImageInUseError } from '../../../src/agent/errors.ts'
import { commandLineStage } from '../../support/command-line-stage.ts'

const stage = commandLineStage()

const IMAGE = {
  image: 'ab'.repeat(32),
  names: [
    { path: '/a', version: 3 },
    { path: '/clone', version: 0 }
  ],
  bytes: 4096,
  dataBytes: 2048,
  heldBytes: 1024,
  isInUse: true,
  used: '2026-11-22T08:15:00.000Z'
}

describe('blobswarm cache', () => {
  test('shows each image with all its names', async () => {
    stage.operations.cached = async () => [IMAGE]

    expect(await stage.run('cache')).toBe(0)

    expect(stage.stdout).toContain(
      '/a@3 /clone@0   4096  1.0 KiB of 2.0 KiB  2026-11-22T08:15:00.000Z  in use'
    )
  })

  test('shows that there is none', async () => {
    expect(await stage.run('cache')).toBe(0)
    expect(stage.stdout).toBe('none\n')
  })

  test('drops what is named', async () => {
    expect(await stage.run('cache', 'evict', '/a@3')).toBe(0)

    expect(stage.operations.calls).toEqual([['evict', '/a@3']])
    expect(stage.stdout).toBe('/a@3: 2.0 KiB freed\n')
  })

  test('exits with 4 if that is in use', async () => {
    stage.operations.evict = async (ref) => Promise.reject(new ImageInUseError(ref))

    expect(await stage.run('cache', 'evict', '/a')).toBe(4)
  })

  test.each([[['evict']], [['drop', '/a']]])('refuses %j', async (args) => {
    expect(await stage.run('cache', ...args)).toBe(2)
  })
})

test('prefetch says what moved', async () => {
  expect(await stage.run('prefetch', '/a')).toBe(0)

  expect(stage.operations.calls).toEqual([['prefetch', '/a']])
  expect(stage.stdout).toMatch(/^\/a@1 {2}0 B {2}from providers 0 B/)
})
