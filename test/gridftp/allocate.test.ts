import { expect, test } from '@jest/globals'
import { GridFtpStage } from '../support/gridftp-stage.ts'

const limited = {
  authenticate: async () => ({ name: 'ada', root: '/', mayWrite: true, quotaBytes: 1000 })
}

test('ALLO of more than the whole quota is refused at once', async () => {
  await using stage = await GridFtpStage.open({ authenticator: limited })
  const raw = await stage.login()

  expect(await raw.command('ALLO 1001')).toBe('552 1001 bytes exceed the quota of 1000.')
  expect(await raw.command('ALLO 1000')).toBe('200 ALLO command successful.')
})
