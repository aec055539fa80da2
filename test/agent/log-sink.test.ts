import { describe, expect, test } from '@jest/globals'
import { formatLine, pinoLogger } from '../../src/agent/log-sink.ts'
import { BlobswarmError } from '../../src/lib/errors.ts'

class SecretError extends BlobswarmError {
  readonly token = 'bst1.hush'
  constructor() {
    super('the token has expired', 'ERR_JOIN_REFUSED')
  }
}

function logged(level: 'error' | 'info' | 'debug' | 'trace') {
  const texts: string[] = []
  const factory = pinoLogger(level, { write: (text: string) => void texts.push(text) })
  const log = factory.forComponent('blobswarm:test')
  return { log, lines: () => texts.map((text) => JSON.parse(text) as Record<string, unknown>) }
}

describe('a log line', () => {
  test.each([
    ['%s has %d chunks', ['a', 3], 'a has 3 chunks'],
    ['%p at %a', ['12D3', '/ip4/1.2.3.4/tcp/1'], '12D3 at /ip4/1.2.3.4/tcp/1'],
    [
      '%p failed: %e',
      ['12D3', new SecretError()],
      '12D3 failed: ERR_JOIN_REFUSED the token has expired'
    ],
    ['%e', [new Error('plain')], 'plain'],
    ['%e', [new Error('above', { cause: new Error('beneath') })], 'above (beneath)'],
    ['%e', [new Error('above: beneath', { cause: new Error('beneath') })], 'above: beneath'],
    ['%e', ['no error'], 'no error'],
    ['%e', [undefined], 'undefined'],
    ['100%% of %s', ['it'], '100% of it'],
    ['too few %s %s', ['a'], 'too few a %s'],
    ['too many', ['a'], 'too many a']
  ])('%j with %j reads %j', (format, values, text) => {
    expect(formatLine(format, values)).toBe(text)
  })
})

describe('the log', () => {
  test('is JSON lines that name component, time and process', () => {
    const { log, lines } = logged('info')

    log.info('version %d published', 3)

    expect(lines()).toEqual([
      {
        level: 30,
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
        pid: process.pid,
        component: 'blobswarm:test',
        msg: 'version 3 published'
      }
    ])
  })

  test('drops what is below its level', () => {
    const { log, lines } = logged('info')

    log.trace('a')
    log.debug('b')
    log.info('c')
    log.error('d')

    expect(lines().map(({ msg }) => msg)).toEqual(['c', 'd'])
  })

  test('has the stack of an error at debug only', () => {
    const quiet = logged('info')
    const loud = logged('debug')

    quiet.log.error('%e', new SecretError())
    loud.log.error('%e', new SecretError())

    expect(quiet.lines()[0]).not.toHaveProperty('err')
    expect(loud.lines()[0]).toMatchObject({ err: { stack: expect.stringContaining('at ') } })
  })

  test("never has an error's fields, which may be secrets", () => {
    const { log, lines } = logged('trace')

    log.error('%e', new SecretError())

    expect(JSON.stringify(lines())).not.toContain('bst1.hush')
  })
})
