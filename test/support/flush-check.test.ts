import { describe, expect, test } from '@jest/globals'
import { type FileEvent, findEarlyAcknowledgements } from './durability/flush-check.ts'
import { readSystemCalls } from './durability/system-calls.ts'

const acknowledged: FileEvent = { kind: 'acknowledged', what: 'it' }

function event(text: string): FileEvent {
  const [kind = '', path = '', from = ''] = text.split(' ')
  if (kind === 'acknowledged') return acknowledged
  if (kind === 'renamed') return { kind, path, from }
  return { kind: kind as 'made', path }
}

/** What is early in events such as `written /a/b`, `renamed /a/new /a/old`, `acknowledged`. */
function early(...lines: readonly string[]): (readonly string[])[] {
  const found = findEarlyAcknowledgements(lines.map(event), () => true)
  return found.map(({ unflushed }) => unflushed)
}

describe('the check of acknowledgements', () => {
  test('is content when bytes and names were flushed before', () => {
    const written = ['made /a/f', 'written /a/f', 'flushing /a/f', 'flushed /a/f']
    const named = ['renamed /b/f /a/f', 'flushing /b', 'flushed /b']

    expect(early(...written, ...named, 'acknowledged')).toEqual([])
  })

  test('finds bytes that were not flushed, or written after the flush began', () => {
    expect(early('written /a/f', 'acknowledged')).toEqual([['bytes of /a/f']])
    const late = ['flushing /a/f', 'written /a/f', 'flushed /a/f', 'acknowledged']
    expect(early(...late)).toEqual([['bytes of /a/f']])
    expect(
      early('written /a/f', 'renamed /a/g /a/f', 'flushing /a', 'flushed /a', 'acknowledged')
    ).toEqual([['bytes of /a/g']])
  })

  test('finds a flush that was not over yet', () => {
    expect(early('written /a/f', 'flushing /a/f', 'acknowledged', 'flushed /a/f')).toEqual([
      ['bytes of /a/f']
    ])
  })

  test('finds names whose folder was not flushed, or too early', () => {
    expect(early('made /a/f', 'acknowledged')).toEqual([['name of /a/f']])
    expect(early('flushing /a', 'made /a/f', 'flushed /a', 'acknowledged')).toEqual([
      ['name of /a/f']
    ])
    expect(early('made /a/f', 'flushing /a/f', 'flushed /a/f', 'acknowledged')).toEqual([
      ['name of /a/f']
    ])
  })

  test('wants nothing of what is gone, and no name twice', () => {
    expect(early('made /a/f', 'written /a/f', 'removed /a/f', 'acknowledged')).toEqual([])
    expect(early('made /a/f', 'flushing /a', 'flushed /a', 'made /a/f', 'acknowledged')).toEqual([])
  })
})

test('system calls are read from what strace writes, also those that others came between', () => {
  const trace = [
    '10 mkdir("/d", 0777) = 0',
    '10 openat(AT_FDCWD</w>, "/d/f", O_RDWR|O_CREAT|O_CLOEXEC, 0644) = 17</d/f>',
    '10 openat(AT_FDCWD</w>, "/d/none", O_RDONLY) = -1 ENOENT (No such file or directory)',
    '11 pwrite64(17</d/f>, "7\\177"..., 4096, 32) = 4096',
    '11 fdatasync(17</d/f> <unfinished ...>',
    '10 write(1<pipe:[5]>, "acknowledged a thing\\n", 21) = 21',
    '11 <... fdatasync resumed>)          = 0',
    '10 rename("/d/f", "/d/g")                  = 0',
    '10 unlink("/d/g")                  = 0',
    '10 +++ exited with 0 +++',
    ''
  ].join('\n')

  expect(readSystemCalls(trace)).toEqual([
    { kind: 'made', path: '/d' },
    { kind: 'made', path: '/d/f' },
    { kind: 'written', path: '/d/f' },
    { kind: 'flushing', path: '/d/f' },
    { kind: 'acknowledged', what: 'a thing' },
    { kind: 'flushed', path: '/d/f' },
    { kind: 'renamed', from: '/d/f', path: '/d/g' },
    { kind: 'removed', path: '/d/g' }
  ])
})
