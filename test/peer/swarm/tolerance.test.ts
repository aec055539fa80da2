import { expect, test } from '@jest/globals'
import { Tolerance } from '../../../src/peer/swarm/tolerance.ts'

test('bears nuisances until the points are spent, by what each costs', () => {
  const tolerance = new Tolerance(0, { points: 100, pointsPerSecond: 1 })

  const borne = [
    tolerance.bears('announcements that tell nothing new', 30, 0),
    tolerance.bears('messages that say nothing', 1, 0),
    tolerance.bears('cancels', 6, 0),
    tolerance.bears('cancels', 1, 0)
  ]

  expect(borne).toEqual([true, true, true, false])
})

test('points come back with time, and never exceed what there was at first', () => {
  const tolerance = new Tolerance(0, { points: 100, pointsPerSecond: 10 })
  tolerance.bears('cancels', 100, 0)

  const borne = [
    tolerance.bears('cancels', 10, 1000),
    tolerance.bears('cancels', 1, 1000),
    tolerance.bears('cancels', 100, 60_000),
    tolerance.bears('cancels', 1, 60_000)
  ]

  expect(borne).toEqual([true, false, true, false])
})

test('a keep-alive every second and an exchange every ten are borne for ever', () => {
  const tolerance = new Tolerance(0)

  const borne = Array.from({ length: 3600 }, (_, second) => {
    const isAlive = tolerance.bears('messages that say nothing', 1, second * 1000)
    return (
      isAlive && tolerance.bears('names of other peers', second % 10 === 0 ? 50 : 0, second * 1000)
    )
  })

  expect(borne).not.toContain(false)
})
