import { readdir, stat, writeFile } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { createConnection, createServer } from 'node:net'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import {
  answerLines,
  callAgent,
  followAgent,
  openCall,
  partsOf as partsOfAnswer
} from '../../src/agent/control-client.ts'
import { ControlServer } from '../../src/agent/control-server.ts'
import { LocalFileError } from '../../src/agent/errors.ts'
import type { OperationProgress } from '../../src/agent/operations.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { PathNotFoundError } from '../../src/metadata/errors.ts'
import { partsOf, RecordedOperations, rangesOf } from '../support/recorded-operations.ts'
import { temporaryFolders } from '../support/temporary-folder.ts'

const newFolder = temporaryFolders()
let folder: string
let socket: string
let operations: RecordedOperations
let server: ControlServer
beforeEach(async () => {
  folder = await newFolder()
  socket = join(folder, 'control.sock')
  operations = new RecordedOperations()
  server = new ControlServer(operations, noLogger, socket)
  await server.start()
})
afterEach(async () => server.stop())

/** Sends a request as it is. @returns status and body. */
async function raw(method: string, path: string, body = ''): Promise<[number, unknown]> {
  const { promise, resolve, reject } = Promise.withResolvers<[number, unknown]>()
  const sent = httpRequest({ socketPath: socket, method, path }, (response) => {
    const whole = Array.fromAsync(response.setEncoding('utf8') as AsyncIterable<string>)
    whole.then((parts) => resolve([response.statusCode ?? 0, JSON.parse(parts.join(''))]), reject)
  })
  sent.on('error', reject).end(body)
  return promise
}

// A body that fails in the middle.
async function* breakingOff(): AsyncGenerator<Uint8Array> {
  yield Buffer.from('he')
  throw new Error('chunk lost')
}

/** Reads an answer of lines to its end. @returns the lines and the result. */
async function linesOf(
  lines: ReturnType<typeof answerLines>
): Promise<[lines: object[], result: unknown]> {
  const all: object[] = []
  for (;;) {
    const { value, done } = await lines.next()
    if (done === true) return [all, value]
    all.push(value)
  }
}

/** An operation that waits until it is aborted. */
function waiting() {
  const { promise: begun, resolve: begin } = Promise.withResolvers<void>()
  const { promise: aborted, resolve: end } = Promise.withResolvers<unknown>()
  const wait = async (signal: AbortSignal | undefined): Promise<never> => {
    begin()
    await new Promise((resolve) => signal?.addEventListener('abort', resolve))
    end(signal?.reason)
    throw signal?.reason
  }
  return { begun, aborted, wait }
}

describe('a call', () => {
  test('brings back what the operation returns', async () => {
    expect(await callAgent(socket, 'GET', 'status')).toEqual({ peerId: 'me' })
    expect(await callAgent(socket, 'POST', 'mkdir', { query: { path: '/a b&c=ü' } })).toEqual({})
    expect(operations.calls).toEqual([['makeDirectory', '/a b&c=ü']])
  })

  test.each([
    ['GET', 'ls', {}, ['list', '/']],
    ['GET', 'log', { path: '/a' }, ['log', '/a']],
    ['GET', 'stat', { ref: '/a@1', sha256: true }, ['stat', '/a@1', { sha256: true }]],
    ['GET', 'swarm', { ref: '/a' }, ['swarm', '/a']],
    ['POST', 'mv', { from: '/a', to: '/b' }, ['rename', '/a', '/b']],
    ['POST', 'rm', { ref: '/a' }, ['remove', '/a']],
    ['POST', 'create', { path: '/a', bytes: 5 }, ['create', { path: '/a', bytes: 5 }]],
    [
      'POST',
      'create',
      { path: '/a', bytes: 0, chunkBytes: 65_536, note: 'x' },
      ['create', { path: '/a', bytes: 0, chunkBytes: 65_536, note: 'x' }]
    ],
    ['POST', 'clone', { ref: '/a@1', path: '/b' }, ['clone', '/a@1', '/b']],
    ['POST', 'merge', { ref: '/a', path: '/b' }, ['merge', { ref: '/a', path: '/b' }]],
    ['POST', 'pin', { ref: '/a@1' }, ['setPinned', '/a@1', true]],
    ['POST', 'unpin', { ref: '/a@1' }, ['setPinned', '/a@1', false]],
    ['GET', 'retention', { path: '/a' }, ['retention', '/a']]
  ])('%s %s carries its parameters', async (method, name, query, call) => {
    await callAgent(socket, method, name, { query })

    expect(operations.calls).toEqual([call])
  })

  test('fails with the code and message that the operation failed with', async () => {
    operations.log = async (path) => {
      throw new PathNotFoundError(path)
    }

    await expect(callAgent(socket, 'GET', 'log', { query: { path: '/no' } })).rejects.toMatchObject(
      {
        code: 'ERR_PATH_NOT_FOUND',
        message: new PathNotFoundError('/no').message
      }
    )
  })

  test('that is aborted by its caller rejects with the reason and aborts the operation', async () => {
    const { begun, aborted, wait } = waiting()
    operations.log = async (_path, options) => wait(options?.signal)
    const abort = new AbortController()
    const call = callAgent(socket, 'GET', 'log', { query: { path: '/a' }, signal: abort.signal })
    await begun

    abort.abort(new Error('interrupted'))

    await expect(call).rejects.toThrow('interrupted')
    expect(await aborted).toMatchObject({ message: 'the client went away' })
  })
})

describe('a request', () => {
  test.each([
    ['GET', '/api/v1/nothing', 404, 'no such call: GET nothing'],
    ['POST', '/api/v1/status', 404, 'no such call: POST status'],
    ['GET', '/api/v1/toString', 404, 'no such call: GET toString'],
    ['GET', '/', 404, 'no such call: GET /'],
    ['GET', '//[', 404, 'no such call: GET //['],
    ['GET', '/api/v1/log', 400, 'parameter path is missing'],
    ['GET', '/api/v1/log?path=', 400, 'parameter path is missing'],
    ['POST', '/api/v1/pull?ref=/a', 400, 'parameter file is missing'],
    ['POST', '/api/v1/verify', 400, 'parameter ref is missing'],
    ['POST', '/api/v1/create?path=/a', 400, 'parameter bytes is missing'],
    ['POST', '/api/v1/clone?ref=/a', 400, 'parameter path is missing'],
    ['GET', '/api/v1/diff?before=/a', 400, 'parameter after is missing'],
    ['GET', '/api/v1/pin?ref=/a', 404, 'no such call: GET pin'],
    ['GET', '/api/v1/cat?ref=/a&offset=-1', 400, 'parameter offset is "-1", wanted a whole number'],
    [
      'GET',
      '/api/v1/cat?ref=/a&length=1e3',
      400,
      'parameter length is "1e3", wanted a whole number'
    ],
    ['PUT', '/api/v1/push?path=/a&bytes=', 400, 'parameter bytes is "", wanted a whole number']
  ])('%s %s is answered with %d: %s', async (method, path, status, message) => {
    const error = { code: 'ERR_BAD_REQUEST', message }

    expect(await raw(method, path)).toEqual([status, { error }])
    expect(operations.calls).toEqual([])
  })

  test.each([
    ['cut', '{', 'the request is not JSON'],
    ['no object', '5', /^the request is malformed: .*object/],
    ['no list of roles', '{"roles":"deploy"}', /^the request is malformed: roles .*array/],
    ['no time', '{"expiresMs":"1h"}', /^the request is malformed: expiresMs .*number/],
    ['an unknown field', '{"role":["deploy"]}', /^the request is malformed: .*role/],
    ['too much', `"${'x'.repeat(70_000)}"`, 'the request is too long']
  ])('for a token with %s is refused', async (_name, body, message) => {
    const [status, answer] = await raw('POST', '/api/v1/token', body)

    expect(status).toBe(400)
    expect(answer).toMatchObject({ error: { code: 'ERR_BAD_REQUEST' } })
    expect((answer as { error: Error }).error.message).toMatch(message)
  })

  test.each([
    [{ last: 3 }, { last: 3 }],
    [
      { last: 3, youngerMs: 1000 },
      { last: 3, youngerMs: 1000 }
    ],
    [{}, {}],
    [null, undefined]
  ])('for a policy of %j carries it', async (policy, asked) => {
    const query = { path: '/a' }

    await callAgent(socket, 'POST', 'retention', { query, body: { policy } })

    expect(operations.calls).toEqual([['setRetention', '/a', asked]])
  })

  test.each([
    ['{}', /policy/],
    ['{"policy":{"last":0}}', /policy.last .*1/],
    ['{"policy":{"last":1.5}}', /policy.last .*int/],
    ['{"policy":{"youngerMs":-1}}', /policy.youngerMs .*1/],
    ['{"policy":{"older":1}}', /policy .*older/]
  ])('for a policy is refused with %s', async (body, message) => {
    const [status, answer] = await raw('POST', '/api/v1/retention?path=/a', body)

    expect(status).toBe(400)
    expect((answer as { error: Error }).error.message).toMatch(message)
    expect(operations.calls).toEqual([])
  })

  test('for a token carries what it may hold', async () => {
    const body = { roles: ['deploy'], rights: undefined, expiresMs: 5000 }

    await callAgent(socket, 'POST', 'token', { body })

    expect(operations.calls).toEqual([['createToken', { roles: ['deploy'], expiresMs: 5000 }]])
  })
})

describe('an operation with progress', () => {
  test('tells of it line by line, and ends with its result', async () => {
    const seen: OperationProgress[] = []
    operations.verify = async (ref, _request, options) => {
      options?.onProgress?.({ phase: 'verify', doneBytes: 1, totalBytes: 2 })
      options?.onProgress?.({ phase: 'verify', doneBytes: 2, totalBytes: 2 })
      return new RecordedOperations().verify(ref, {})
    }

    const result = await followAgent(socket, 'verify', { query: { ref: '/a' } }, (progress) =>
      seen.push(progress)
    )

    expect(seen.map(({ doneBytes }) => doneBytes)).toEqual([1, 2])
    expect(result).toMatchObject({ ref: '/a', checked: 1 })
  })

  test.each([0, 1])('fails with its code after %d lines of progress', async (lines) => {
    operations.pull = async ({ ref }, options) => {
      for (let line = 0; line < lines; line++) {
        options?.onProgress?.({ phase: 'transfer', doneBytes: 0, totalBytes: 1 })
      }
      throw new PathNotFoundError(ref)
    }
    const query = { ref: '/no', file: '/tmp/x', force: false }

    await expect(followAgent(socket, 'pull', { query }, () => {})).rejects.toMatchObject({
      code: 'ERR_PATH_NOT_FOUND'
    })
  })

  test('is aborted when its client goes away', async () => {
    const { begun, aborted, wait } = waiting()
    operations.pull = async (_request, options) => wait(options?.signal)
    const abort = new AbortController()
    const query = { ref: '/a', file: '/tmp/x' }
    const pull = followAgent(socket, 'pull', { query, signal: abort.signal }, () => {})
    await begun

    abort.abort(new Error('interrupted'))

    await expect(pull).rejects.toThrow('interrupted')
    expect(await aborted).toMatchObject({ message: 'the client went away' })
  })

  test('fails as unreachable when the agent stops, which waits for the end of the operation', async () => {
    const order: string[] = []
    const { begun, wait } = waiting()
    operations.pull = async (_request, options) => {
      options?.onProgress?.({ phase: 'transfer', doneBytes: 0, totalBytes: 1 })
      try {
        return await wait(options?.signal)
      } finally {
        await readdir(folder)
        order.push('the pull has cleaned up')
      }
    }
    const pull = followAgent(socket, 'pull', { query: { ref: '/a', file: '/x' } }, () => {})
    pull.catch(() => {})
    await begun

    await server.stop()
    order.push('the server has stopped')

    expect(order).toEqual(['the pull has cleaned up', 'the server has stopped'])
    await expect(pull).rejects.toMatchObject({ code: 'ERR_AGENT_UNREACHABLE' })
  })
})

describe('a diff', () => {
  const query = { before: '/a@1', after: '/a@2' }

  test('comes in lines of ranges and ends with their sum', async () => {
    const [lines, result] = await linesOf(answerLines(socket, 'GET', 'diff', { query }))

    expect(lines).toEqual([
      {
        ranges: [
          { offset: 0, length: 1 },
          { offset: 2, length: 1 }
        ]
      }
    ])
    expect(result).toMatchObject({ before: { path: '/a@1' }, rangeCount: 2, changedBytes: 2 })
  })

  test('of many ranges comes in many lines', async () => {
    const offsets = Array.from({ length: 1000 }, (_, at) => at * 2)
    operations.diff = async (before, after) => {
      const diff = await new RecordedOperations().diff(before, after)
      return { ...diff, ranges: rangesOf(...offsets) }
    }

    const [lines, result] = await linesOf(answerLines(socket, 'GET', 'diff', { query }))

    expect(lines).toHaveLength(4)
    expect(result).toMatchObject({ rangeCount: 1000, changedBytes: 1000 })
  })

  test.each([0, 1000])('that fails after %d ranges has the code of the failure', async (count) => {
    async function* failing(): AsyncGenerator<{ offset: number; length: number }> {
      yield* rangesOf(...Array.from({ length: count }, (_, at) => at * 2))
      throw new PathNotFoundError('/a page')
    }
    operations.diff = async (before, after) => {
      const diff = await new RecordedOperations().diff(before, after)
      return { ...diff, ranges: failing() }
    }

    await expect(linesOf(answerLines(socket, 'GET', 'diff', { query }))).rejects.toMatchObject({
      code: 'ERR_PATH_NOT_FOUND'
    })
  })

  test('stops when its client goes away', async () => {
    const { promise: stopped, resolve: stop } = Promise.withResolvers<void>()
    async function* endless(): AsyncGenerator<{ offset: number; length: number }> {
      try {
        for (let offset = 0; ; offset += 2) yield { offset, length: 1 }
      } finally {
        stop()
      }
    }
    operations.diff = async (before, after) => {
      const diff = await new RecordedOperations().diff(before, after)
      return { ...diff, ranges: endless() }
    }
    const abort = new AbortController()
    const lines = answerLines(socket, 'GET', 'diff', { query, signal: abort.signal })
    await lines.next()

    abort.abort(new Error('interrupted'))

    await expect(lines.next().then(async () => linesOf(lines))).rejects.toThrow('interrupted')
    await stopped
  })
})

describe('bytes', () => {
  test('go to the agent as they come', async () => {
    const body = Readable.from(partsOf('ab', 'cde'), { objectMode: false })
    const query = { path: '/a', bytes: 5, note: undefined }

    const result = await callAgent(socket, 'PUT', 'push', { query, body })

    expect(result).toMatchObject({ path: '/a', bytes: 5 })
    expect(operations.calls).toEqual([['push', { path: '/a', bytes: 5 }]])
  })

  test('that the agent refuses are not sent to their end', async () => {
    const isDone = { value: false }
    async function* endless(): AsyncGenerator<Uint8Array> {
      try {
        for (;;) yield Buffer.alloc(65_536)
      } finally {
        isDone.value = true
      }
    }
    operations.push = async () => {
      throw new PathNotFoundError('/no')
    }
    const body = Readable.from(endless(), { objectMode: false })

    const push = callAgent(socket, 'PUT', 'push', { query: { path: '/no' }, body })

    await expect(push).rejects.toMatchObject({ code: 'ERR_PATH_NOT_FOUND' })
    await new Promise((resolve) => body.once('close', resolve).resume())
    expect(isDone.value).toBe(true)
  })

  test('that cannot be read any further fail the call with that, and the operation too', async () => {
    const ended = Promise.withResolvers<unknown>()
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>()
    operations.push = async (request, body) => {
      begin()
      return new RecordedOperations().push(request, body).catch((error: unknown) => {
        ended.resolve(error)
        throw error
      })
    }
    async function* breaking(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('a')
      await begun
      throw new LocalFileError('/dev/bad', 'i/o error')
    }
    const body = Readable.from(breaking(), { objectMode: false })

    const push = callAgent(socket, 'PUT', 'push', { query: { path: '/a' }, body })

    await expect(push).rejects.toMatchObject({ code: 'ERR_LOCAL_FILE' })
    expect(await ended.promise).toMatchObject({ code: 'ECONNRESET' })
  })

  test('come from the agent as they are', async () => {
    const query = { ref: '/a', offset: 1, length: 5 }

    const answer = await openCall(socket, 'GET', 'cat', { query })
    const parts = await Array.fromAsync(partsOfAnswer(answer, socket, undefined))

    expect(Buffer.concat(parts as Uint8Array[]).toString()).toBe('hello')
    expect(operations.calls).toEqual([['cat', '/a', { offset: 1, length: 5 }]])
  })

  test('that break off in the middle are an error, never a short answer', async () => {
    operations.cat = async () => ({ bytes: 5, body: breakingOff() })

    const reading = openCall(socket, 'GET', 'cat', { query: { ref: '/a' } }).then((answer) =>
      Array.fromAsync(partsOfAnswer(answer, socket, undefined))
    )

    await expect(reading).rejects.toMatchObject({ code: 'ERR_AGENT_UNREACHABLE' })
  })
})

describe('without an agent', () => {
  test.each([
    ['no socket', async () => {}, /no agent answers, there is no such socket/],
    [
      'a dead socket',
      async (path: string) => writeFile(path, ''),
      /no agent answers, it has stopped/
    ]
  ])('%s is unreachable, naming the path', async (_name, prepare, reason) => {
    const path = join(folder, 'other.sock')
    await prepare(path)

    const call = callAgent(path, 'GET', 'status')

    await expect(call).rejects.toMatchObject({ code: 'ERR_AGENT_UNREACHABLE' })
    await expect(call).rejects.toThrow(path)
    await expect(call).rejects.toThrow(reason)
  })

  test('another program at the socket is told apart', async () => {
    const path = join(folder, 'other.sock')
    const other = createServer((connection) =>
      connection.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi')
    ).listen(path)

    await expect(callAgent(path, 'GET', 'status')).rejects.toMatchObject({
      code: 'ERR_AGENT_UNREACHABLE',
      message: expect.stringContaining('no agent')
    })

    other.close()
  })
})

describe('the socket', () => {
  test('is for its user alone, and gone after the stop', async () => {
    expect((await stat(socket)).mode & 0o777).toBe(0o700)

    await server.stop()

    expect(await readdir(folder)).toEqual([])
  })

  test('is refused while another agent answers there', async () => {
    const second = new ControlServer(operations, noLogger, socket)

    await expect(second.start()).rejects.toMatchObject({
      code: 'ERR_DATA_DIRECTORY',
      message: `${socket}: another agent answers there`
    })
    await second.stop()

    expect(await callAgent(socket, 'GET', 'status')).toEqual({ peerId: 'me' })
  })

  test('never replaces a file that is no socket', async () => {
    const path = join(folder, 'precious')
    await writeFile(path, 'x')

    await expect(new ControlServer(operations, noLogger, path).start()).rejects.toMatchObject({
      message: `${path}: is there already and is no socket`
    })

    expect((await stat(path)).isFile()).toBe(true)
  })

  test('is refused when its path is longer than sockets can have', async () => {
    const path = join(folder, 'x'.repeat(108))

    await expect(new ControlServer(operations, noLogger, path).start()).rejects.toMatchObject({
      code: 'ERR_DATA_DIRECTORY',
      message: expect.stringContaining('107 bytes')
    })
  })

  test('that cannot be made is a listener without address', async () => {
    const path = '/proc/control.sock'

    await expect(new ControlServer(operations, noLogger, path).start()).rejects.toMatchObject({
      code: 'ERR_LISTEN',
      message: expect.stringContaining(path)
    })
  })

  test('stops also with a client that has said nothing yet', async () => {
    const idle = createConnection(socket)
    await new Promise((resolve) => idle.once('connect', resolve))
    const closed = new Promise((resolve) => idle.once('close', resolve).once('error', () => {}))

    await server.stop()

    await closed
  })

  test('in a folder that is not there makes the folder', async () => {
    const path = join(folder, 'run', 'control.sock')
    const other = new ControlServer(operations, noLogger, path)

    await other.start()

    expect(await callAgent(path, 'GET', 'status')).toEqual({ peerId: 'me' })
    await other.stop()
  })
})

test('rate limits are whole bytes a second, and those not named stay', async () => {
  const up = await raw('POST', '/api/v1/limits?uploadRate=1000')
  const wrong = await raw('POST', '/api/v1/limits?downloadRate=1.5')

  expect(up).toEqual([200, { uploadRate: 1000, downloadRate: 0 }])
  expect(wrong).toMatchObject([400, { error: { code: 'ERR_BAD_REQUEST' } }])
  expect(operations.calls).toEqual([['setLimits', { uploadRate: 1000, downloadRate: undefined }]])
})
