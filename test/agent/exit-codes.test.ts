import { readFileSync } from 'node:fs'
import { describe, expect, test } from '@jest/globals'
import { EXIT_FAILED, exitCodeOf } from '../../src/agent/exit-codes.ts'
import { BlobswarmError } from '../../src/lib/errors.ts'

const text = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8')
const rows = Array.from(text.matchAll(/^\| (\d) \| [^|]+ \|([^|]*)\|$/gm))
const inTable = rows.flatMap(([, exit, codes = '']) =>
  Array.from(codes.matchAll(/`(ERR_[A-Z_]+)`/g), ([, code = '']) => [code, Number(exit)] as const)
)
const everyCode = Array.from(text.matchAll(/^\| `(ERR_[A-Z_]+)` \|/gm), ([, code = '']) => code)

describe('the table of exit codes in docs/errors.md', () => {
  test('has the codes 0 to 6 and many errors', () => {
    expect(rows.map(([, exit]) => Number(exit))).toEqual([0, 1, 2, 3, 4, 5, 6])
    expect(inTable.length).toBeGreaterThan(15)
  })

  test('says what the program does', () => {
    const real = inTable.map(([code]) => [code, exitCodeOf(new BlobswarmError('', code))])

    expect(real).toEqual(inTable)
  })

  test('leaves out no error that has an exit code of its own', () => {
    const listed = new Set(inTable.map(([code]) => code))
    const special = everyCode.filter(
      (code) => exitCodeOf(new BlobswarmError('', code)) !== EXIT_FAILED
    )

    expect(special.filter((code) => !listed.has(code))).toEqual([])
    expect([...listed].filter((code) => !everyCode.includes(code))).toEqual([])
  })
})

test.each([
  ['no code', new Error('x')],
  ['a code of Node', { code: 'ENOSPC' }],
  ['nothing', undefined]
])('an error with %s exits with 1', (_name, error) => {
  expect(exitCodeOf(error)).toBe(EXIT_FAILED)
})
