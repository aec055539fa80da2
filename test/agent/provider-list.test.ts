import { describe, expect, test } from '@jest/globals'
import { listProviders, setProviderDraining } from '../../src/agent/provider-list.ts'
import { ProviderPool } from '../support/provider-pool.ts'

const start = async (names: readonly string[]) => {
  const { manager } = await ProviderPool.start('')
  const pool = await ProviderPool.start('x')
  const report = await pool.get('x').report('zone')
  for (const id of names) await manager.report({ ...report, id })
  return manager
}

describe('the list of providers', () => {
  test('is in order of ids, and says when each was heard of', async () => {
    const providers = await start(['b', 'a'])

    expect(await listProviders(providers)).toMatchObject([
      { id: 'a', condition: 'live', seen: '1970-01-01T00:00:00.000Z' },
      { id: 'b', condition: 'live' }
    ])
  })
})

describe('draining', () => {
  test.each([
    ['an id', 'peer-a'],
    ['the start of one id only', 'peer-ab']
  ])('takes %s', async (_, name) => {
    const providers = await start(['peer-a', 'peer-abc', 'other'])

    const drained = await setProviderDraining(providers, name, true)

    expect(drained).toMatchObject({ isDraining: true })
    expect(drained.id.startsWith(name)).toBe(true)
    const draining = (await listProviders(providers)).filter(({ isDraining }) => isDraining)
    expect(draining.map(({ id }) => id)).toEqual([drained.id])
  })

  test('refuses what no provider or several begin with', async () => {
    const providers = await start(['peer-a', 'peer-b'])

    await expect(setProviderDraining(providers, 'x', true)).rejects.toMatchObject({
      code: 'ERR_UNKNOWN_PROVIDER'
    })
    await expect(setProviderDraining(providers, 'peer', true)).rejects.toMatchObject({
      code: 'ERR_BAD_REQUEST',
      message: '2 providers begin with peer'
    })
  })
})
