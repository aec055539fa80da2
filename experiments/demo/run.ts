import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { formatBytes, formatTable } from '../../src/agent/commands/format.ts'
import type { PullResult } from '../../src/agent/operations.ts'
import { MIB } from '../../src/lib/bytes.ts'
import { AgentProcess, blobswarmJson, PROGRAM } from '../support/agent-process.ts'
import { changeImage, makeImage, sha256File } from '../support/image.ts'
import { Bars } from './bars.ts'
import { findUploader, type Uploader } from './upload.ts'

// `npm run demo`: see README.md.

const HYPERVISORS = 3
const IMAGE_PATH = '/images/demo.raw'

const { values } = parseArgs({
  options: {
    mib: { type: 'string', default: '512' },
    seed: { type: 'string' },
    keep: { type: 'boolean', default: false },
    'builtin-client': { type: 'boolean', default: false }
  }
})
const mib = Number(values.mib)
const seed = Number(values.seed ?? Date.now() % 1_000_000)
if (!Number.isInteger(mib) || mib < 4 || !Number.isInteger(seed)) {
  process.stderr.write('demo: --mib wants a whole number from 4, --seed a whole number\n')
  process.exit(2)
}

interface Scene {
  readonly folder: string
  readonly image: string
  readonly uploader: Uploader
  readonly repository: AgentProcess
  readonly hypervisors: readonly AgentProcess[]
  readonly signal: AbortSignal
}

interface UploadRow {
  readonly seconds: number
  readonly bytes: number
  readonly storedBytes: number
}

const interrupted = new AbortController()
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(name, () => interrupted.abort(new Error(`${name} received`)))
}
const agents: AgentProcess[] = []
const folder = await mkdtemp(join(tmpdir(), 'blobswarm-demo-'))
try {
  await play(interrupted.signal)
} catch (error) {
  const isInterrupt = interrupted.signal.aborted
  process.stderr.write(`\ndemo: ${isInterrupt ? 'interrupted' : String(error)}\n`)
  process.exitCode = isInterrupt ? 130 : 1
} finally {
  await Promise.all(agents.map(async (agent) => agent.stop()))
  await rm(folder, { recursive: true, force: true })
}

async function play(signal: AbortSignal): Promise<void> {
  const image = join(folder, 'image.raw')
  say(`image: ${mib} MiB, a quarter zeros, a quarter repeated, the rest random; seed ${seed}`)
  await makeImage(image, mib, seed)
  signal.throwIfAborted()
  const uploader = await findUploader(values['builtin-client'])
  say(`upload client: ${uploader.name}`)
  const scene = { folder, image, uploader, signal, ...(await startAgents(signal)) }

  const first = await round(scene, 1)
  const changedBytes = await changeImage(image, { share: 0.01, runs: 20, seed: seed + 1 })
  say(`\nchanged ${formatBytes(changedBytes)} in 20 runs; uploading that as version 2`)
  const second = await round(scene, 2)
  say(`\n${table([first, second])}\n`)
  if (values.keep) await keep(scene)
}

async function startAgents(
  signal: AbortSignal
): Promise<Pick<Scene, 'repository' | 'hypervisors'>> {
  const dataDir = join(folder, 'repository')
  const roles = 'versionManager,providerManager,metadata,provider,gridftp'
  const repository = await start(dataDir, signal, ['--roles', roles, '--gridftp', '127.0.0.1:0'])
  say(`repository agent ${repository.ready.peerId} (pid ${repository.ready.pid})`)
  const hypervisors = await Promise.all(
    Array.from({ length: HYPERVISORS }, async (_, index) => {
      const { token } = await blobswarmJson<{ token: string }>(
        dataDir,
        ['token', 'create', '--roles', 'deploy'],
        { signal }
      )
      const own = join(folder, `hypervisor-${index + 1}`)
      return start(own, signal, ['--roles', 'deploy', '--join', token])
    })
  )
  for (const { ready } of hypervisors) say(`hypervisor agent ${ready.peerId} (pid ${ready.pid})`)
  return { repository, hypervisors }
}

async function start(dataDir: string, signal: AbortSignal, args: string[]): Promise<AgentProcess> {
  await mkdir(dataDir, { recursive: true })
  const agent = await AgentProcess.start({
    dataDir,
    signal,
    args: [...args, '--http', '127.0.0.1:0', '--set', 'agent.logLevel=error'],
    onLog: (line) => process.stderr.write(`${line}\n`)
  })
  agents.push(agent)
  return agent
}

/** Uploads the image, pulls it on every hypervisor at once and compares. */
async function round(
  scene: Scene,
  version: number
): Promise<{ upload: UploadRow; pulls: PullResult[] }> {
  const { signal } = scene
  say(`\nuploading version ${version} over GridFTP, extended block mode, 2 streams`)
  const before = await storedBytes(scene)
  const startedMs = performance.now()
  await scene.uploader.put(scene.image, scene.repository.ready.gridftp ?? '', IMAGE_PATH, signal)
  const seconds = (performance.now() - startedMs) / 1000
  const upload = { seconds, bytes: mib * MIB, storedBytes: (await storedBytes(scene)) - before }
  say(`uploaded in ${seconds.toFixed(2)} s; pulling on ${HYPERVISORS} agents at once`)

  const bars = new Bars(scene.hypervisors.map((_, index) => `hypervisor ${index + 1}`))
  const pulls = await Promise.all(
    scene.hypervisors.map(async ({ dataDir }, index) => {
      const args = ['pull', IMAGE_PATH, join(dataDir, 'disk.raw'), '--force', '--progress', 'json']
      return blobswarmJson<PullResult>(dataDir, args, {
        signal,
        onError: (line) => bars.take(index, line)
      })
    })
  ).finally(() => bars.finish())

  const files = [scene.image, ...scene.hypervisors.map(({ dataDir }) => join(dataDir, 'disk.raw'))]
  const [wanted, ...found] = await Promise.all(files.map(async (file) => sha256File(file)))
  if (found.some((hash) => hash !== wanted)) {
    throw new Error(`SHA-256 differs: uploaded ${wanted}, pulled ${found.join(' ')}`)
  }
  say(`SHA-256 equal on all: ${wanted}`)
  return { upload, pulls }
}

async function storedBytes({ repository, signal }: Scene): Promise<number> {
  const status = await blobswarmJson<{ storedBytes: number }>(repository.dataDir, ['status'], {
    signal
  })
  return status.storedBytes
}

function table(rounds: readonly { upload: UploadRow; pulls: readonly PullResult[] }[]): string {
  const head = ['what', 'seconds', 'MiB/s', 'from provider', 'from peers', 'reused', 'stored']
  const rows = rounds.flatMap(({ upload, pulls }, index) => [
    [
      `upload version ${index + 1}`,
      upload.seconds.toFixed(2),
      (upload.bytes / MIB / upload.seconds).toFixed(1),
      '',
      '',
      '',
      formatBytes(upload.storedBytes)
    ],
    ...pulls.map((pull, host) => [
      `  pull on hypervisor ${host + 1}`,
      pull.seconds.toFixed(2),
      (pull.bytes / MIB / pull.seconds).toFixed(1),
      formatBytes(pull.fromProvidersBytes),
      formatBytes(pull.fromPeersBytes),
      formatBytes(pull.reusedBytes),
      ''
    ])
  ])
  return formatTable(head, rows)
}

async function keep(scene: Scene): Promise<void> {
  const [host] = scene.hypervisors
  const tries = [
    ['the versions', `${PROGRAM} log ${IMAGE_PATH} --data-dir ${scene.repository.dataDir}`],
    ['who sent what', `${PROGRAM} swarm ${IMAGE_PATH} --data-dir ${host?.dataDir}`],
    ['version 1', `${PROGRAM} pull ${IMAGE_PATH}@1 /tmp/one.raw --data-dir ${host?.dataDir}`],
    ['a listing', `curl ftp://${scene.repository.ready.gridftp}/images/`],
    ['metrics', `curl http://${scene.repository.ready.http}/metrics`]
  ]
  say('everything keeps running; Ctrl-C ends it and removes its files. Try:\n')
  for (const [what, command] of tries) say(`  # ${what}\n  ${command}`)
  const { promise, resolve } = Promise.withResolvers<void>()
  const stayAlive = setInterval(() => {}, 60_000)
  scene.signal.addEventListener('abort', () => resolve(), { once: true })
  await promise
  clearInterval(stayAlive)
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}
