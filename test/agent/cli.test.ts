import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import { runCli } from '../../src/agent/cli.ts'

let stdout: string
let stderr: string
beforeEach(() => {
  stdout = ''
  stderr = ''
  jest.spyOn(process.stdout, 'write').mockImplementation((text) => {
    stdout += String(text)
    return true
  })
  jest.spyOn(process.stderr, 'write').mockImplementation((text) => {
    stderr += String(text)
    return true
  })
})
afterEach(() => {
  jest.restoreAllMocks()
  process.exitCode = 0
})

/** Runs a command line. @returns its exit code. */
async function run(line: string, environment: Record<string, string> = {}): Promise<number> {
  await runCli(line.split(' ').filter(Boolean), environment)
  const { exitCode = 0 } = process
  process.exitCode = 0
  return Number(exitCode)
}

describe('help', () => {
  test.each(['help', '--help', '-h'])('lists every command with %s', async (line) => {
    expect(await run(line)).toBe(0)

    for (const command of [
      'agent',
      'push FILE',
      'pull REF',
      'token create',
      'verify REF',
      'diff REF REF',
      'clone REF PATH',
      'create PATH --size N',
      'retention PATH',
      'pin REF',
      'unpin REF',
      'gc [--dry-run]',
      'config'
    ]) {
      expect(stdout).toContain(`  blobswarm ${command}`)
    }
    expect(stderr).toBe('')
  })

  test('is shown without a command too, which is a mistake', async () => {
    expect(await run('')).toBe(2)

    expect(stdout).toContain('blobswarm push')
  })

  test('of one command is its usage', async () => {
    expect(await run('pull --help')).toBe(0)

    expect(stdout).toMatch(/^blobswarm pull REF FILE \[--force\]\n {2}\S/)
  })

  test('names the version', async () => {
    expect(await run('--version')).toBe(0)

    expect(stdout).toMatch(/^blobswarm \d+\.\d+\.\d+\n$/)
  })
})

describe('a wrong command line', () => {
  test.each([
    ['fly', 'unknown command "fly"'],
    ['constructor', 'unknown command "constructor"'],
    ['pull', 'usage: blobswarm pull REF FILE'],
    ['pull /a b c', 'usage: blobswarm pull REF FILE'],
    ['pull /a b --fast', "pull: Unknown option '--fast'"],
    ['pull /a b --socket', "pull: Option '--socket <value>' argument missing"],
    ['pull /a b --progress dots', '--progress dots: wanted bar, json or none'],
    ['cat /a --offset x', '--offset x: wanted a whole number of bytes'],
    ['cat /a --length 1e3', '--length 1e3: wanted a whole number of bytes'],
    ['diff /a', 'usage: blobswarm diff REF REF'],
    ['create /a', 'create: --size is missing'],
    ['create /a --size 10X', '--size 10X: wanted a size such as 65536, 512M or 10G'],
    ['create /a --size 1G --chunk-size', "Option '--chunk-size <value>' argument missing"],
    ['push - /a --if-newest two', '--if-newest two: wanted a version number'],
    ['retention /a --last 0', '--last 0: wanted a number of versions, at least 1'],
    ['retention /a --last many', '--last many: wanted a number of versions, at least 1'],
    ['retention /a --younger old', '--younger old: wanted a time such as 30m, 1h or 7d'],
    ['retention /a --younger 0d', '--younger 0d: wanted a time such as 30m, 1h or 7d'],
    ['retention /a --all --inherit', '--all, --inherit and --last or --younger exclude each other'],
    ['retention /a --last 1 --all', '--all, --inherit and --last or --younger exclude each other'],
    ['gc --progress dots', '--progress dots: wanted bar, json or none'],
    ['token', 'usage: blobswarm token create'],
    ['token delete', 'token delete: wanted token create'],
    ['token create --expires soon', '--expires soon: wanted a time such as 30m, 1h or 7d'],
    ['config --set storage.foo=1', 'configuration storage.foo: no such key'],
    ['config --config /nowhere.yaml', '/nowhere.yaml cannot be read']
  ])('"%s" exits with 2 and says in one line: %s', async (line, message) => {
    expect(await run(line)).toBe(2)

    expect(stderr).toMatch(/^blobswarm: [^\n]+\n$/)
    expect(stderr).toContain(message)
    expect(stdout).toBe('')
  })
})

describe('a command that fails', () => {
  test.each([
    ['status --data-dir /nowhere', {}, '/nowhere/control.sock'],
    ['status --socket /nowhere/s', { BLOBSWARM_SOCKET: '/other' }, '/nowhere/s'],
    ['ls', { BLOBSWARM_SOCKET: '/nowhere/env' }, '/nowhere/env'],
    ['ls', {}, `${process.cwd()}/blobswarm-data/control.sock`]
  ])(
    '"%s" with %j finds no agent at the right place and exits with 6',
    async (line, env, socket) => {
      expect(await run(line, env as Record<string, string>)).toBe(6)

      expect(stderr).toContain(`blobswarm: ${socket}: no agent answers`)
    }
  )

  test('for a file that is not there exits with 1, naming it', async () => {
    expect(await run('push /nowhere/image.raw /a')).toBe(1)

    expect(stderr).toBe('blobswarm: /nowhere/image.raw: no such file\n')
  })

  test('leaves no listener for signals behind', async () => {
    const before = process.listenerCount('SIGINT')

    await run('status --socket /nowhere/s')

    expect(process.listenerCount('SIGINT')).toBe(before)
  })
})

describe('config', () => {
  test('prints what is in force, as YAML', async () => {
    expect(await run('config --set storage.replicas=2 --data-dir /x')).toBe(0)

    expect(stdout).toContain('  replicas: 2\n')
    expect(stdout).toContain('  dataDir: /x\n')
  })

  test('prints one JSON document when asked', async () => {
    await run('config --json', { BLOBSWARM_STORAGE_REPLICAS: '3' })

    expect(JSON.parse(stdout)).toMatchObject({ storage: { replicas: 3 } })
  })
})
