import { type Call, sendBytes, sendDiff, sendProgress } from './control-answer.ts'
import {
  isSet,
  needed,
  neededNumber,
  numberOf,
  readBody,
  retentionSchema,
  tokenSchema
} from './control-request.ts'
import type { AgentOperations } from './operations.ts'

/** Answers a call; what it returns goes out as JSON, undefined when it has answered by itself. */
export type Handler = (call: Call, operations: AgentOperations) => Promise<unknown>

/** What can be called, by method and name. */
export const HANDLERS: ReadonlyMap<string, Handler> = new Map<string, Handler>([
  ['GET status', ({ signal }, operations) => operations.status({ signal })],
  ['GET peers', (_call, operations) => operations.peers()],
  ['GET providers', ({ signal }, operations) => operations.providers({ signal })],
  [
    'GET swarm',
    ({ query, signal }, operations) => operations.swarm(needed(query, 'ref'), { signal })
  ],
  ['GET limits', (_call, operations) => operations.limits()],
  [
    'POST limits',
    ({ query }, operations) => {
      const uploadRate = numberOf(query, 'uploadRate')
      return operations.setLimits({ uploadRate, downloadRate: numberOf(query, 'downloadRate') })
    }
  ],
  [
    'GET ls',
    ({ query, signal }, operations) => operations.files.list(query.get('path') ?? '/', { signal })
  ],
  [
    'GET log',
    ({ query, signal }, operations) => operations.files.log(needed(query, 'path'), { signal })
  ],
  [
    'GET stat',
    ({ query, signal }, operations) =>
      operations.files.stat(needed(query, 'ref'), { sha256: isSet(query, 'sha256') }, { signal })
  ],
  [
    'GET cat',
    async (call, operations) => {
      const { query, signal } = call
      const range = { offset: numberOf(query, 'offset'), length: numberOf(query, 'length') }
      return sendBytes(call, await operations.files.cat(needed(query, 'ref'), range, { signal }))
    }
  ],
  [
    'GET diff',
    async (call, operations) => {
      const [before, after] = [needed(call.query, 'before'), needed(call.query, 'after')]
      return sendDiff(call, await operations.files.diff(before, after, { signal: call.signal }))
    }
  ],
  [
    'GET retention',
    ({ query, signal }, operations) => operations.files.retention(needed(query, 'path'), { signal })
  ],
  [
    'POST retention',
    async ({ query, request, signal }, operations) => {
      const path = needed(query, 'path')
      const { policy } = await readBody(request, retentionSchema)
      return operations.files.setRetention(path, policy ?? undefined, { signal })
    }
  ],
  [
    'POST mkdir',
    async ({ query, signal }, operations) => {
      await operations.files.makeDirectory(needed(query, 'path'), { signal })
      return {}
    }
  ],
  [
    'POST mv',
    async ({ query, signal }, operations) => {
      await operations.files.rename(needed(query, 'from'), needed(query, 'to'), { signal })
      return {}
    }
  ],
  [
    'POST rm',
    async ({ query, signal }, operations) => {
      await operations.files.remove(needed(query, 'ref'), { signal })
      return {}
    }
  ],
  [
    'POST create',
    async ({ query, signal }, operations) => {
      const [path, bytes] = [needed(query, 'path'), neededNumber(query, 'bytes')]
      const chunkBytes = numberOf(query, 'chunkBytes')
      const note = query.get('note') ?? undefined
      return operations.files.create({ path, bytes, chunkBytes, note }, { signal })
    }
  ],
  [
    'POST clone',
    ({ query, signal }, operations) =>
      operations.files.clone(needed(query, 'ref'), needed(query, 'path'), { signal })
  ],
  [
    'POST merge',
    async ({ query, signal }, operations) => {
      const [ref, path] = [needed(query, 'ref'), needed(query, 'path')]
      const [offset, length] = [numberOf(query, 'offset'), numberOf(query, 'length')]
      const [at, ifNewest] = [numberOf(query, 'at'), numberOf(query, 'ifNewest')]
      const note = query.get('note') ?? undefined
      return operations.files.merge({ ref, path, offset, length, at, note, ifNewest }, { signal })
    }
  ],
  [
    'POST pin',
    ({ query, signal }, operations) =>
      operations.files.setPinned(needed(query, 'ref'), true, { signal })
  ],
  [
    'POST unpin',
    ({ query, signal }, operations) =>
      operations.files.setPinned(needed(query, 'ref'), false, { signal })
  ],
  [
    'POST drain',
    ({ query, signal }, operations) =>
      operations.setDraining(needed(query, 'provider'), true, { signal })
  ],
  [
    'POST undrain',
    ({ query, signal }, operations) =>
      operations.setDraining(needed(query, 'provider'), false, { signal })
  ],
  [
    'POST token',
    async ({ request }, operations) => operations.createToken(await readBody(request, tokenSchema))
  ],
  ['GET tokens', (_call, operations) => operations.tokens()],
  ['POST revokeToken', ({ query }, operations) => operations.revokeToken(needed(query, 'token'))],
  ['GET members', (_call, operations) => operations.members()],
  [
    'POST revoke',
    ({ query }, operations) => operations.revoke(needed(query, 'member'), query.get('reason') ?? '')
  ],
  [
    'PUT push',
    async ({ query, request, signal }, operations) => {
      const [path, bytes] = [needed(query, 'path'), numberOf(query, 'bytes')]
      const note = query.get('note') ?? undefined
      const ifNewest = numberOf(query, 'ifNewest')
      return operations.files.push({ path, bytes, note, ifNewest }, request, { signal })
    }
  ],
  [
    'POST pull',
    async (call, operations) => {
      const { query } = call
      const [ref, file] = [needed(query, 'ref'), needed(query, 'file')]
      const pull = { ref, file, force: isSet(query, 'force') }
      return sendProgress(call, (options) => operations.pull(pull, options))
    }
  ],
  [
    'POST prefetch',
    async (call, operations) => {
      const ref = needed(call.query, 'ref')
      return sendProgress(call, (options) => operations.prefetch(ref, options))
    }
  ],
  ['GET cache', (_call, operations) => operations.cached()],
  ['POST evict', ({ query }, operations) => operations.evict(needed(query, 'ref'))],
  [
    'POST verify',
    async (call, operations) => {
      const [ref, repair] = [needed(call.query, 'ref'), isSet(call.query, 'repair')]
      return sendProgress(call, (options) => operations.verify(ref, { repair }, options))
    }
  ],
  [
    'POST gc',
    async (call, operations) => {
      const isDryRun = isSet(call.query, 'dryRun')
      return sendProgress(call, (options) => operations.collect({ isDryRun }, options))
    }
  ]
])
