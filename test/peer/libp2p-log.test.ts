import { expect, test } from '@jest/globals'
import { MemoryLogger } from '../../src/lib/logger.ts'
import { libp2pLogger } from '../../src/peer/libp2p-log.ts'

test('what libp2p logs, its errors too, is logged at trace under the name of its component', () => {
  const logger = new MemoryLogger()
  const log = libp2pLogger(logger).forComponent('libp2p:tcp')

  log('dialled %a', 'there')
  log.error('failed')
  log.trace('more')

  expect(logger.lines).toEqual([
    { component: 'libp2p:tcp', level: 'trace', format: 'dialled %a', values: ['there'] },
    { component: 'libp2p:tcp', level: 'trace', format: 'failed', values: [] },
    { component: 'libp2p:tcp', level: 'trace', format: 'more', values: [] }
  ])
})

test('no log is made for a connection or a stream', () => {
  const log = libp2pLogger(new MemoryLogger()).forComponent('libp2p')

  expect(log.newScope('connection 7')).toBe(log)
})
