import { describe, expect, test } from '@jest/globals'
import {
  IncomparableVersionsError,
  TicketConflictError,
  VersionPinnedError
} from '../../../src/metadata/errors.ts'
import { commandLineStage } from '../../support/command-line-stage.ts'
import { RecordedOperations, rangesOf } from '../../support/recorded-operations.ts'

const stage = commandLineStage()

const report = {
  isDryRun: false,
  retiredVersions: 1,
  forgottenBlobs: 0,
  chunks: { count: 3, bytes: 3 * 65_536 },
  nodes: { count: 1, bytes: 100 },
  pages: { count: 2, bytes: 64 },
  records: { count: 0, bytes: 0 },
  liveChunks: 40,
  missed: [],
  seconds: 1.26
}

describe('clone and create', () => {
  test('say what they made', async () => {
    expect(await stage.run('clone', '/a@3', '/b')).toBe(0)
    expect(await stage.run('create', '/c', '--size', '10G', '--chunk-size', '1M', '--json')).toBe(0)

    expect(stage.operations.calls).toEqual([
      ['clone', '/a@3', '/b'],
      ['create', { path: '/c', bytes: 10 * 1024 ** 3, chunkBytes: 1024 ** 2 }]
    ])
    expect(stage.stdout).toBe(
      '/b@0  5 B  clone of /a@3\n{"path":"/c","version":1,"bytes":10737418240}\n'
    )
  })
})

describe('merge', () => {
  test('carries the range, and the condition', async () => {
    const range = ['--offset', '64K', '--length', '1M', '--at', '0', '--if-newest', '3']

    expect(await stage.run('merge', '/a@1', '/b', ...range)).toBe(0)

    const wanted = { offset: 65_536, length: 1024 ** 2, at: 0, ifNewest: 3 }
    expect(stage.operations.calls).toEqual([['merge', { ref: '/a@1', path: '/b', ...wanted }]])
    expect(stage.stdout).toBe('/b@2  5 B  with bytes of /a@1\n')
  })
})

describe('push --if-newest', () => {
  test('carries the condition, and exits with 4 when it does not hold', async () => {
    stage.operations.push = async (request) => {
      stage.operations.calls.push(['push', request])
      throw new TicketConflictError('version 3 is the newest, not 2')
    }

    expect(await stage.run('push', 'package.json', '/a', '--if-newest', '2')).toBe(4)

    expect(stage.operations.calls).toMatchObject([['push', { path: '/a', ifNewest: 2 }]])
    expect(stage.stderr).toBe('blobswarm: version 3 is the newest, not 2\n')
  })
})

describe('diff', () => {
  test('prints a line a range and what they come to', async () => {
    expect(await stage.run('diff', '/a@1', '/a@2')).toBe(0)

    expect(stage.stdout).toBe('0 1\n2 1\n/a@1@1 and /a@2@1 differ in 2 ranges, 2 B\n')
  })

  test('prints one JSON document, however many ranges there are', async () => {
    stage.operations.diff = async (before, after) => {
      const diff = await new RecordedOperations().diff(before, after)
      return { ...diff, ranges: rangesOf(...Array.from({ length: 600 }, (_, at) => at * 2)) }
    }

    expect(await stage.run('diff', '/a', '/b', '--json')).toBe(0)

    const document = JSON.parse(stage.stdout) as { ranges: object[] }
    expect(document).toMatchObject({ before: { path: '/a' }, rangeCount: 600, changedBytes: 600 })
    expect(document.ranges).toHaveLength(600)
    expect(document.ranges.at(-1)).toEqual({ offset: 1198, length: 1 })
  })

  test('of equal versions says so', async () => {
    stage.operations.diff = async (before, after) => {
      const diff = await new RecordedOperations().diff(before, after)
      return { ...diff, ranges: rangesOf() }
    }

    await stage.run('diff', '/a', '/b')
    await stage.run('diff', '/a', '/b', '--json')

    expect(stage.stdout).toMatch(/^\/a@1 and \/b@1 are equal\n\{"ranges":\[\],.*"rangeCount":0/)
  })

  test('of versions that cannot be compared exits with 2 and prints nothing', async () => {
    stage.operations.diff = async () => {
      throw new IncomparableVersionsError('chunks of 65536 and 131072 bytes')
    }

    expect(await stage.run('diff', '/a', '/b', '--json')).toBe(2)

    expect(stage.stdout).toBe('')
    expect(stage.stderr).toMatch(/^blobswarm: the versions cannot be compared: [^\n]+\n$/)
  })
})

describe('pin and unpin', () => {
  test('are silent, and tell the version as JSON', async () => {
    await stage.run('pin', '/a@1')
    await stage.run('unpin', '/a@1', '--json')

    expect(stage.operations.calls).toEqual([
      ['setPinned', '/a@1', true],
      ['setPinned', '/a@1', false]
    ])
    expect(stage.stdout).toBe('{"path":"/a@1","version":1,"isPinned":false}\n')
  })

  test('keep rm from removing the version, which exits with 4', async () => {
    stage.operations.remove = async () => {
      throw new VersionPinnedError('ab'.repeat(32), 3)
    }

    expect(await stage.run('rm', '/a@3')).toBe(4)

    expect(stage.stderr).toMatch(/is pinned\n$/)
  })
})

describe('log', () => {
  test('shows which versions are pinned', async () => {
    const common = { bytes: 5, timeMs: 0, condition: 'published' } as const
    stage.operations.log = async () => [
      { ...common, version: 0, note: '', isPinned: true },
      { ...common, version: 1, note: 'second', isPinned: false }
    ]

    await stage.run('log', '/a')

    expect(stage.stdout).toBe(
      'version  bytes  time                          note\n' +
        '      0      5  1970-01-01 00:00:00Z  pinned\n' +
        '      1      5  1970-01-01 00:00:00Z          second\n'
    )
  })
})

describe('retention', () => {
  test.each([
    [[], ['retention', '/a']],
    [
      ['--last', '3'],
      ['setRetention', '/a', { last: 3 }]
    ],
    [
      ['--last', '1', '--younger', '30d'],
      ['setRetention', '/a', { last: 1, youngerMs: 2.592e9 }]
    ],
    [['--all'], ['setRetention', '/a', {}]],
    [['--inherit'], ['setRetention', '/a', undefined]]
  ])('%j asks %j', async (options, call) => {
    expect(await stage.run('retention', '/a', ...options)).toBe(0)

    expect(stage.operations.calls).toEqual([call])
  })

  test.each([
    [{}, undefined, '/a: keeps all versions\n'],
    [{}, '/a', '/a: keeps all versions\n'],
    [{ last: 1 }, '/a', '/a: keeps the last version\n'],
    [{ last: 3 }, '/', '/a: keeps the last 3 versions (set for /)\n'],
    [
      { last: 3, youngerMs: 5_400_000 },
      '/a',
      '/a: keeps the last 3 versions and those younger than 90m\n'
    ]
  ])('with policy %j set for %s prints %j', async (policy, setFor, text) => {
    stage.operations.retention = async (path) => ({ path, policy, setFor })

    await stage.run('retention', '/a')

    expect(stage.stdout).toBe(text)
  })
})

describe('gc', () => {
  test('says what it did', async () => {
    stage.operations.collect = async () => report

    expect(await stage.run('gc')).toBe(0)

    expect(stage.stdout).toBe(
      'retired 1 version, deleted 3 chunks (192.0 KiB), 1 node, 2 pages and 0 records\n' +
        '40 chunks stay  1.3 s\n'
    )
  })

  test('says what it would do, what it could not reach, and what is gone altogether', async () => {
    stage.operations.collect = async (request) => {
      stage.operations.calls.push(['collect', request])
      return { ...report, isDryRun: true, forgottenBlobs: 2, missed: ['p1', 'p2'] }
    }

    expect(await stage.run('gc', '--dry-run')).toBe(0)

    expect(stage.operations.calls).toEqual([['collect', { isDryRun: true }]])
    expect(stage.stdout).toMatch(/^would retire 1 version, would delete 3 chunks/)
    expect(stage.stdout).toContain('would forget 2 blobs of which nothing is left\n')
    expect(stage.stdout).toContain('not reached, collected another time: p1, p2\n')
  })

  test('shows how far it is as JSON lines, and the report as one document', async () => {
    stage.operations.collect = async (_request, options) => {
      options?.onProgress?.({ phase: 'marking: 4 chunks stay', doneBytes: 0, totalBytes: 0 })
      return report
    }

    expect(await stage.run('gc', '--json', '--progress', 'json')).toBe(0)

    expect(stage.stderr).toBe('{"phase":"marking: 4 chunks stay","doneBytes":0,"totalBytes":0}\n')
    expect(JSON.parse(stage.stdout)).toEqual(report)
  })
})
