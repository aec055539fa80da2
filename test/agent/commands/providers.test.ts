import { describe, expect, test } from '@jest/globals'
import type { ListedProvider } from '../../../src/agent/operations.ts'
import { commandLineStage } from '../../support/command-line-stage.ts'

const stage = commandLineStage()

const provider: ListedProvider = {
  id: 'peer-1',
  zone: 'rack-1',
  freeBytes: 1_610_612_736,
  storedBytes: 524_288,
  chunkCount: 3,
  load: 2,
  isDraining: false,
  version: '1.2.3',
  latencyMs: 12,
  lostCount: 1,
  condition: 'live',
  seen: '2026-11-22T08:15:00.000Z'
}

describe('blobswarm providers', () => {
  test('shows how each provider is', async () => {
    const full = { id: 'peer-2', isDraining: true }
    const empty = { id: 'peer-3', isDraining: true, chunkCount: 0, condition: 'dead' as const }
    const one = { id: 'peer-4', isDraining: true, chunkCount: 1 }
    stage.operations.providers = async () =>
      [{}, full, empty, one].map((each) => Object.assign({}, provider, each))

    expect(await stage.run('providers')).toBe(0)

    expect(stage.stdout).toBe(`\
id      zone    state                        free     stored  chunks  load  latency  lost  version  seen
peer-1  rack-1  live                     1.50 GiB  512.0 KiB       3     2  12 ms       1    1.2.3  2026-11-22 08:15:00Z
peer-2  rack-1  draining, 3 chunks left  1.50 GiB  512.0 KiB       3     2  12 ms       1    1.2.3  2026-11-22 08:15:00Z
peer-3  rack-1  dead, drained            1.50 GiB  512.0 KiB       0     2  12 ms       1    1.2.3  2026-11-22 08:15:00Z
peer-4  rack-1  draining, 1 chunk left   1.50 GiB  512.0 KiB       1     2  12 ms       1    1.2.3  2026-11-22 08:15:00Z
`)
  })

  test('says so when there are none', async () => {
    expect(await stage.run('providers')).toBe(0)

    expect(stage.stdout).toBe('none\n')
  })

  test('--json shows all that is known', async () => {
    stage.operations.providers = async () => [provider]

    expect(await stage.run('providers', '--json')).toBe(0)

    expect(JSON.parse(stage.stdout)).toEqual([provider])
  })

  test('drain says how much there is to move, and undrain that there is nothing', async () => {
    stage.operations.setDraining = async (_, isDraining) => ({ ...provider, isDraining })

    const codes = [
      await stage.run('providers', 'drain', 'peer-1'),
      await stage.run('providers', 'undrain', 'peer-1'),
      await stage.run('providers', 'drain', 'peer-1', '--json')
    ]

    const [drained, undrained, json = ''] = stage.stdout.trim().split('\n')
    expect(codes).toEqual([0, 0, 0])
    expect(drained).toBe('peer-1 takes no new chunks, 3 are left to be moved')
    expect(undrained).toBe('peer-1 takes new chunks again')
    expect(JSON.parse(json)).toEqual({ ...provider, isDraining: true })
  })

  test('of one that is not known ends with the code for that', async () => {
    expect(await stage.run('providers', 'drain', 'peer-9')).toBe(3)

    expect(stage.operations.calls).toEqual([['setDraining', 'peer-9', true]])
    expect(stage.stderr).toContain('provider peer-9 is not known')
  })

  test.each([['drain'], ['move', 'peer-1'], ['drain', 'a', 'b']])(
    'with %p is a mistake',
    async (...args) => {
      expect(await stage.run('providers', ...args)).toBe(2)

      expect(stage.stderr).toContain('usage: blobswarm providers [drain N | undrain N]')
    }
  )
})
