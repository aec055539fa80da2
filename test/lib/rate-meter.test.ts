import { expect, test } from '@jest/globals'
import { RateMeter } from '../../src/lib/rate-meter.ts'

test('a steady flow has its rate soon and keeps it', () => {
  const meter = new RateMeter(2000)
  const seen: number[] = []
  for (let ms = 0; ms <= 20_000; ms += 10) {
    meter.add(10, ms)
    if (ms % 1000 === 500) seen.push(meter.perSecond(ms))
  }

  expect(seen.every((rate) => rate > 950 && rate < 1100)).toBe(true)
})

test('fades when nothing comes', () => {
  const meter = new RateMeter(1000)
  for (let ms = 0; ms < 5000; ms += 10) meter.add(10, ms)

  expect(meter.perSecond(8000)).toBeLessThan(60)
})

test('is 0 before the first amount, and an early burst is no rate', () => {
  const meter = new RateMeter(1000)

  expect(meter.perSecond(5)).toBe(0)
  meter.add(100, 10)
  expect(meter.perSecond(10)).toBeLessThan(1100)
})
