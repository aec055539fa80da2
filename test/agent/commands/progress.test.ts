import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import { formatBar, ProgressView } from '../../../src/agent/commands/progress.ts'
import { MIB } from '../../../src/lib/bytes.ts'

describe('a bar', () => {
  test('shows share, bytes, rate and what came from peers', () => {
    const bar = formatBar({
      phase: 'transfer',
      doneBytes: 64 * MIB,
      totalBytes: 128 * MIB,
      bytesPerSecond: 110 * MIB,
      fromPeersBytes: 30,
      fromProvidersBytes: 20
    })

    expect(bar).toBe(
      '[##############--------------]   50%  64.0 MiB of 128.0 MiB  110.0 MiB/s  peers 60%'
    )
  })

  test.each([
    ['nothing to do', { doneBytes: 0, totalBytes: 0 }, /^\[#{28}\] {2}100% {2}0 B of 0 B$/],
    ['more than was expected', { doneBytes: 3, totalBytes: 2 }, /^\[#{28}\] {2}100%/],
    ['almost all', { doneBytes: 999, totalBytes: 1000 }, /\] {3}99%/],
    ['nothing yet', { doneBytes: 0, totalBytes: 1 }, /^\[-{28}\] {4}0%/]
  ])('shows %s', (_name, progress, pattern) => {
    expect(formatBar({ phase: 'transfer', ...progress })).toMatch(pattern)
  })

  test('names what is waited for, and any other phase', () => {
    const bar = formatBar({
      phase: 'verify',
      doneBytes: 0,
      totalBytes: 1,
      waitingFor: 'a provider'
    })

    expect(bar).toMatch(/waiting for a provider {2}verify$/)
  })
})

test('the bar tells the time left, and of a wait how long it was and will be', () => {
  const transfer = { phase: 'transfer', doneBytes: 1, totalBytes: 2 }
  const wait = { waitingFor: 'answers', waitedSeconds: 3.2, giveUpInSeconds: 116.8 }

  expect(formatBar({ ...transfer, etaSeconds: 95 })).toMatch(/1 B of 2 B {2}1 min 35 s left$/)
  expect(formatBar({ ...transfer, ...wait })).toMatch(
    /waiting 3\.2 s for answers, gives up in 1 min 57 s$/
  )
  expect(
    formatBar({ phase: 'opening', doneBytes: 0, totalBytes: 0, waitingFor: 'version record' })
  ).toBe('opening, waiting for version record')
})

describe('the view', () => {
  let written: string
  beforeEach(() => {
    written = ''
    jest.spyOn(process.stderr, 'write').mockImplementation((text) => {
      written += String(text)
      return true
    })
  })
  afterEach(() => void jest.restoreAllMocks())
  const progress = { phase: 'transfer', doneBytes: 1, totalBytes: 2 }

  test('writes JSON lines when asked', () => {
    const view = new ProgressView('/a', 'json')

    view.show(progress)
    view.finish()

    expect(written).toBe(`${JSON.stringify(progress)}\n`)
  })

  test('draws a bar over the last one and ends its line once', () => {
    const view = new ProgressView('/a', 'bar')

    view.show(progress)
    view.show(progress)
    view.finish()
    view.finish()

    const bar = `\r\x1b[2K/a ${formatBar(progress)}`
    expect(written).toBe(`${bar}${bar}\n`)
  })

  test('is silent when asked', () => {
    const view = new ProgressView('/a', 'none')

    view.show(progress)
    view.finish()

    expect(written).toBe('')
  })

  test('refuses what it does not know', () => {
    expect(() => new ProgressView('/a', 'dots')).toThrow(
      '--progress dots: wanted bar, json or none'
    )
  })
})
