import type { AgentOperations, FileOperations, StatResult } from '../../src/agent/operations.ts'
import { UnknownProviderError } from '../../src/chunks/errors.ts'
import type { ByteRange } from '../../src/metadata/types.ts'

type Call = readonly [name: string, ...request: unknown[]]

/** Operations of an agent that only note what they were asked; a test replaces those it is about. */
export class RecordedOperations implements AgentOperations, FileOperations {
  readonly files: FileOperations = this
  /** What was asked, without signals and callbacks. */
  readonly calls: Call[] = []

  push: FileOperations['push'] = async (request, body) => {
    let bytes = 0
    for await (const part of body) bytes += part.byteLength
    this.calls.push(['push', request])
    const { path } = request
    return { path, version: 1, bytes, storedBytes: bytes, reusedBytes: 0, zeroBytes: 0, seconds: 1 }
  }
  pull: AgentOperations['pull'] = async (request) => {
    this.calls.push(['pull', request])
    const { ref, file } = request
    const moved = { fromProvidersBytes: 0, fromPeersBytes: 0, reusedBytes: 0, zeroBytes: 0 }
    return { ref, path: ref, version: 1, file, bytes: 0, ...moved, seconds: 1 }
  }
  prefetch: AgentOperations['prefetch'] = async (ref) => {
    this.calls.push(['prefetch', ref])
    const moved = { fromProvidersBytes: 0, fromPeersBytes: 0, reusedBytes: 0, zeroBytes: 0 }
    return { ref, path: ref, version: 1, bytes: 0, ...moved, seconds: 1 }
  }
  cached: AgentOperations['cached'] = async () => []
  evict: AgentOperations['evict'] = async (ref) => {
    this.calls.push(['evict', ref])
    return { ref, freedBytes: 2048 }
  }
  cat: FileOperations['cat'] = async (ref, range) => {
    this.calls.push(['cat', ref, range])
    return { bytes: 5, body: partsOf('he', 'llo') }
  }
  list: FileOperations['list'] = async (path) => {
    this.calls.push(['list', path])
    return []
  }
  stat: FileOperations['stat'] = async (ref, request): Promise<StatResult> => {
    this.calls.push(['stat', ref, request])
    return { path: ref, kind: 'file', bytes: 5, modifiedMs: 0, version: 1 }
  }
  log: FileOperations['log'] = async (path) => {
    this.calls.push(['log', path])
    return []
  }
  create: FileOperations['create'] = async (request) => {
    this.calls.push(['create', request])
    return { path: request.path, version: 1, bytes: request.bytes }
  }
  clone: FileOperations['clone'] = async (ref, path) => {
    this.calls.push(['clone', ref, path])
    return { path, version: 0, bytes: 5 }
  }
  merge: FileOperations['merge'] = async (request) => {
    this.calls.push(['merge', request])
    return { path: request.path, version: 2, bytes: 5 }
  }
  diff: FileOperations['diff'] = async (before, after) => {
    this.calls.push(['diff', before, after])
    const version = { version: 1, bytes: 5 }
    const ranges = rangesOf(0, 2)
    return { before: { path: before, ...version }, after: { path: after, ...version }, ranges }
  }
  setPinned: FileOperations['setPinned'] = async (ref, isPinned) => {
    this.calls.push(['setPinned', ref, isPinned])
    return { path: ref, version: 1, isPinned }
  }
  retention: FileOperations['retention'] = async (path) => {
    this.calls.push(['retention', path])
    return { path, policy: {}, setFor: undefined }
  }
  setRetention: FileOperations['setRetention'] = async (path, policy) => {
    this.calls.push(['setRetention', path, policy])
    return { path, policy: policy ?? {}, setFor: policy === undefined ? undefined : path }
  }
  collect: AgentOperations['collect'] = async (request) => {
    this.calls.push(['collect', request])
    const none = { count: 0, bytes: 0 }
    return {
      isDryRun: request.isDryRun,
      retiredVersions: 0,
      forgottenBlobs: 0,
      chunks: none,
      nodes: none,
      pages: none,
      records: none,
      liveChunks: 0,
      missed: [],
      seconds: 0
    }
  }
  remove: FileOperations['remove'] = async (ref) => void this.calls.push(['remove', ref])
  makeDirectory: FileOperations['makeDirectory'] = async (path) =>
    void this.calls.push(['makeDirectory', path])
  rename: FileOperations['rename'] = async (from, to) => void this.calls.push(['rename', from, to])
  verify: AgentOperations['verify'] = async (ref, request) => {
    this.calls.push(['verify', ref, request])
    const found = { checked: 1, confirmed: 0, missing: 0, corrupt: 0, repaired: 0 }
    const copies = { copies: 1, intact: 1, underReplicated: 0, unreachableProviders: 0 }
    return { ref, chunks: 1, zeroChunks: 0, ...copies, ...found }
  }
  status: AgentOperations['status'] = async () => ({ peerId: 'me' })
  peers: AgentOperations['peers'] = async () => []
  providers: AgentOperations['providers'] = async () => []
  setDraining: AgentOperations['setDraining'] = async (provider, isDraining) => {
    this.calls.push(['setDraining', provider, isDraining])
    throw new UnknownProviderError(provider)
  }
  limits: AgentOperations['limits'] = async () => ({ uploadRate: 0, downloadRate: 0 })
  setLimits: AgentOperations['setLimits'] = async (change) => {
    this.calls.push(['setLimits', change])
    const { uploadRate = 0, downloadRate = 0 } = change
    return { uploadRate, downloadRate }
  }
  swarm: AgentOperations['swarm'] = async (ref) => {
    this.calls.push(['swarm', ref])
    return {}
  }
  createToken: AgentOperations['createToken'] = async (request) => {
    this.calls.push(['createToken', request])
    return { token: 'bst1.x', expiresMs: 1 }
  }
  tokens: AgentOperations['tokens'] = async () => []
  revokeToken: AgentOperations['revokeToken'] = async (token) => {
    this.calls.push(['revokeToken', token])
    return { id: token, roles: [], rights: [], expires: '' }
  }
  members: AgentOperations['members'] = async () => []
  revoke: AgentOperations['revoke'] = async (member, reason) => {
    this.calls.push(['revoke', member, reason])
    const about = { roles: [], rights: [], admitted: '', certificateUntil: '' }
    return { peerId: member, standing: 'revoked', isConnected: false, reason, ...about }
  }
}

/**
 * Makes a body in parts.
 *
 * @yields each of them.
 */
export async function* partsOf(...parts: string[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield Buffer.from(part)
}

/**
 * Makes ranges.
 *
 * @yields one of a byte at each offset.
 */
export async function* rangesOf(...offsets: number[]): AsyncGenerator<ByteRange, void> {
  for (const offset of offsets) yield { offset, length: 1 }
}
