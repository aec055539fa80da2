import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import { runCli } from '../../../src/agent/cli.ts'
import { ControlServer } from '../../../src/agent/control-server.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import {
  IncomparableVersionsError,
  TicketConflictError,
  VersionPinnedError
} from '../../../src/metadata/errors.ts'
import { RecordedOperations, rangesOf } from '../../support/recorded-operations.ts'
import { temporaryFolders } from '../../support/temporary-folder.ts'

const newFolder = temporaryFolders()
let socket: string
let stdout: string
let stderr: string
let operations: RecordedOperations
let server: ControlServer
beforeEach(async () => {
  socket = join(await newFolder(), 'control.sock')
  operations = new RecordedOperations()
  server = new ControlServer(operations, noLogger, socket)
  await server.start()
  stdout = ''
  stderr = ''
  jest.spyOn(process.stdout, 'write').mockImplementation((text, encoding, callback) => {
    stdout += Buffer.isBuffer(text) ? text.toString() : String(text)
    const done = typeof encoding === 'function' ? encoding : callback
    done?.()
    return true
  })
  jest.spyOn(process.stderr, 'write').mockImplementation((text) => {
    stderr += String(text)
    return true
  })
})
afterEach(async () => {
  jest.restoreAllMocks()
  process.exitCode = 0
  await server.stop()
})

/** Runs a command line. @returns its exit code. */
async function run(...args: string[]): Promise<number> {
  await runCli([...args, '--socket', socket], {})
  const { exitCode = 0 } = process
  process.exitCode = 0
  return Number(exitCode)
}

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
    expect(await run('clone', '/a@3', '/b')).toBe(0)
    expect(await run('create', '/c', '--size', '10G', '--chunk-size', '1M', '--json')).toBe(0)

    expect(operations.calls).toEqual([
      ['clone', '/a@3', '/b'],
      ['create', { path: '/c', bytes: 10 * 1024 ** 3, chunkBytes: 1024 ** 2 }]
    ])
    expect(stdout).toBe('/b@0  5 B  clone of /a@3\n{"path":"/c","version":1,"bytes":10737418240}\n')
  })
})

describe('merge', () => {
  test('carries the range, and the condition', async () => {
    const range = ['--offset', '64K', '--length', '1M', '--at', '0', '--if-newest', '3']

    expect(await run('merge', '/a@1', '/b', ...range)).toBe(0)

    const wanted = { offset: 65_536, length: 1024 ** 2, at: 0, ifNewest: 3 }
    expect(operations.calls).toEqual([['merge', { ref: '/a@1', path: '/b', ...wanted }]])
    expect(stdout).toBe('/b@2  5 B  with bytes of /a@1\n')
  })
})

describe('push --if-newest', () => {
  test('carries the condition, and exits with 4 when it does not hold', async () => {
    operations.push = async (request) => {
      operations.calls.push(['push', request])
      throw new TicketConflictError('version 3 is the newest, not 2')
    }

    expect(await run('push', 'package.json', '/a', '--if-newest', '2')).toBe(4)

    expect(operations.calls).toMatchObject([['push', { path: '/a', ifNewest: 2 }]])
    expect(stderr).toBe('blobswarm: version 3 is the newest, not 2\n')
  })
})

describe('diff', () => {
  test('prints a line a range and what they come to', async () => {
    expect(await run('diff', '/a@1', '/a@2')).toBe(0)

    expect(stdout).toBe('0 1\n2 1\n/a@1@1 and /a@2@1 differ in 2 ranges, 2 B\n')
  })

  test('prints one JSON document, however many ranges there are', async () => {
    operations.diff = async (before, after) => {
      const diff = await new RecordedOperations().diff(before, after)
      return { ...diff, ranges: rangesOf(...Array.from({ length: 600 }, (_, at) => at * 2)) }
    }

    expect(await run('diff', '/a', '/b', '--json')).toBe(0)

    const document = JSON.parse(stdout) as { ranges: object[] }
    expect(document).toMatchObject({ before: { path: '/a' }, rangeCount: 600, changedBytes: 600 })
    expect(document.ranges).toHaveLength(600)
    expect(document.ranges.at(-1)).toEqual({ offset: 1198, length: 1 })
  })

  test('of equal versions says so', async () => {
    operations.diff = async (before, after) => {
      const diff = await new RecordedOperations().diff(before, after)
      return { ...diff, ranges: rangesOf() }
    }

    await run('diff', '/a', '/b')
    await run('diff', '/a', '/b', '--json')

    expect(stdout).toMatch(/^\/a@1 and \/b@1 are equal\n\{"ranges":\[\],.*"rangeCount":0/)
  })

  test('of versions that cannot be compared exits with 2 and prints nothing', async () => {
    operations.diff = async () => {
      throw new IncomparableVersionsError('chunks of 65536 and 131072 bytes')
    }

    expect(await run('diff', '/a', '/b', '--json')).toBe(2)

    expect(stdout).toBe('')
    expect(stderr).toMatch(/^blobswarm: the versions cannot be compared: [^\n]+\n$/)
  })
})

describe('pin and unpin', () => {
  test('are silent, and tell the version as JSON', async () => {
    await run('pin', '/a@1')
    await run('unpin', '/a@1', '--json')

    expect(operations.calls).toEqual([
      ['setPinned', '/a@1', true],
      ['setPinned', '/a@1', false]
    ])
    expect(stdout).toBe('{"path":"/a@1","version":1,"isPinned":false}\n')
  })

  test('keep rm from removing the version, which exits with 4', async () => {
    operations.remove = async () => {
      throw new VersionPinnedError('ab'.repeat(32), 3)
    }

    expect(await run('rm', '/a@3')).toBe(4)

    expect(stderr).toMatch(/is pinned\n$/)
  })
})

describe('log', () => {
  test('shows which versions are pinned', async () => {
    const common = { bytes: 5, timeMs: 0, condition: 'published' } as const
    operations.log = async () => [
      { ...common, version: 0, note: '', isPinned: true },
      { ...common, version: 1, note: 'second', isPinned: false }
    ]

    await run('log', '/a')

    expect(stdout).toBe(
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
    expect(await run('retention', '/a', ...options)).toBe(0)

    expect(operations.calls).toEqual([call])
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
    operations.retention = async (path) => ({ path, policy, setFor })

    await run('retention', '/a')

    expect(stdout).toBe(text)
  })
})

describe('gc', () => {
  test('says what it did', async () => {
    operations.collect = async () => report

    expect(await run('gc')).toBe(0)

    expect(stdout).toBe(
      'retired 1 version, deleted 3 chunks (192.0 KiB), 1 node, 2 pages and 0 records\n' +
        '40 chunks stay  1.3 s\n'
    )
  })

  test('says what it would do, what it could not reach, and what is gone altogether', async () => {
    operations.collect = async (request) => {
      operations.calls.push(['collect', request])
      return { ...report, isDryRun: true, forgottenBlobs: 2, missed: ['p1', 'p2'] }
    }

    expect(await run('gc', '--dry-run')).toBe(0)

    expect(operations.calls).toEqual([['collect', { isDryRun: true }]])
    expect(stdout).toMatch(/^would retire 1 version, would delete 3 chunks/)
    expect(stdout).toContain('would forget 2 blobs of which nothing is left\n')
    expect(stdout).toContain('not reached, collected another time: p1, p2\n')
  })

  test('shows how far it is as JSON lines, and the report as one document', async () => {
    operations.collect = async (_request, options) => {
      options?.onProgress?.({ phase: 'marking: 4 chunks stay', doneBytes: 0, totalBytes: 0 })
      return report
    }

    expect(await run('gc', '--json', '--progress', 'json')).toBe(0)

    expect(stderr).toBe('{"phase":"marking: 4 chunks stay","doneBytes":0,"totalBytes":0}\n')
    expect(JSON.parse(stdout)).toEqual(report)
  })
})
