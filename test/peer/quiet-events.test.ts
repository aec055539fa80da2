import { expect, jest, test } from '@jest/globals'
import { TypedEventEmitter } from '@libp2p/interface'
import { quietEvents } from '../../src/peer/quiet-events.ts'

test('an event is made only when somebody listens, before and after', () => {
  quietEvents()
  quietEvents()
  const emitter = new TypedEventEmitter<{ idle: CustomEvent<number> }>()
  const dispatched = jest.spyOn(emitter, 'dispatchEvent')
  const heard: number[] = []
  const listener = ({ detail }: CustomEvent<number>): void => void heard.push(detail)

  const results = [emitter.safeDispatchEvent('idle', { detail: 1 })]
  emitter.addEventListener('idle', listener)
  results.push(emitter.safeDispatchEvent('idle', { detail: 2 }))
  emitter.removeEventListener('idle', listener)
  results.push(emitter.safeDispatchEvent('idle', { detail: 3 }))

  expect(heard).toEqual([2])
  expect(dispatched).toHaveBeenCalledTimes(1)
  expect(results).toEqual([true, true, true])
})
