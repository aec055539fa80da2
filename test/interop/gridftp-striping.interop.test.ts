import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, jest } from '@jest/globals'
import { type AgentProcess, blobswarmJson } from '../../experiments/support/agent-process.ts'
import { Cluster } from '../support/cluster.ts'
import { startGlobusServer } from '../support/globus-server.ts'
import { RunningProgram, run, runOk, testWith } from '../support/programs.ts'
import { sampleBytes, sha256 } from '../support/sample-bytes.ts'

const MIB = 1024 * 1024
const IMAGE_BYTES = 24 * MIB
const TIMEOUT_MS = 90_000
const STRIPES = ['-stripe', '-sbs', String(MIB), '-p', '2']
const FRONT_ROLES = 'versionManager,providerManager,metadata,gridftp'

jest.setTimeout(TIMEOUT_MS)

/** A cluster whose front carries no data, and two data movers that keep it. */
class StripedCluster {
  readonly front: AgentProcess
  readonly movers: readonly AgentProcess[]

  private constructor(front: AgentProcess, movers: readonly AgentProcess[]) {
    this.front = front
    this.movers = movers
  }

  static async start(cluster: Cluster, name: string): Promise<StripedCluster> {
    const settings = ['--set', 'gridftp.mover=false', '--set', 'gridftp.markerInterval=20ms']
    const roles = ['--roles', FRONT_ROLES, '--gridftp', '127.0.0.1:0']
    const front = await cluster.start(name, [...roles, ...settings])
    const movers = await Promise.all(
      [1, 2].map(async (number) => {
        const token = ['token', 'create', '--roles', 'provider,gridftp', '--rights', 'read,write']
        const joining = await blobswarmJson<{ token: string }>(front.dataDir, token)
        const own = ['--roles', 'provider,gridftp', '--set', 'gridftp.listen=']
        return await cluster.start(`${name}-mover-${number}`, [...own, '--join', joining.token])
      })
    )
    for (const { ready } of movers) {
      await cluster.log(name).until(new RegExp(`found the data mover ${ready.peerId}`))
    }
    return new StripedCluster(front, movers)
  }

  url(path: string): string {
    return `ftp://${this.front.ready.gridftp}${path}`
  }

  /** Bytes that each mover has carried for files. */
  async moved(direction: 'upload' | 'download'): Promise<number[]> {
    const metric = `blobswarm_gridftp_mover_bytes{direction="${direction}"}`
    return await Promise.all(this.movers.map(async (mover) => await metricOf(mover, metric)))
  }

  /** Bytes that went over data connections of the front itself. */
  async throughFront(): Promise<number> {
    const of = async (direction: string): Promise<number> =>
      await metricOf(this.front, `blobswarm_gridftp_data_bytes{direction="${direction}"}`)
    return (await of('upload')) + (await of('download'))
  }
}

async function metricOf(agent: AgentProcess, metric: string): Promise<number> {
  const response = await fetch(`http://${agent.ready.http}/metrics`)
  const line = (await response.text()).split('\n').find((text) => text.startsWith(`${metric} `))
  return Number(line?.slice(metric.length + 1) ?? 0)
}

const total = (numbers: readonly number[]): number => numbers.reduce((sum, one) => sum + one, 0)

/** Each has carried its half, but for a stripe block. */
function expectHalves(moved: readonly number[]): void {
  expect(total(moved)).toBe(IMAGE_BYTES)
  for (const bytes of moved) expect(Math.abs(bytes - IMAGE_BYTES / 2)).toBeLessThanOrEqual(MIB)
}

describe('two data movers behind a front that carries no data', () => {
  let cluster: Cluster
  let here: StripedCluster
  let there: StripedCluster
  let folder = ''
  const image = sampleBytes(IMAGE_BYTES)

  beforeAll(async () => {
    cluster = await Cluster.create()
    folder = await mkdtemp(join(tmpdir(), 'blobswarm-stripes-'))
    await writeFile(join(folder, 'image'), image)
    ;[here, there] = await Promise.all([
      StripedCluster.start(cluster, 'here'),
      StripedCluster.start(cluster, 'there')
    ])
  }, TIMEOUT_MS)

  afterAll(async () => {
    await cluster.stop()
    await rm(folder, { recursive: true, force: true })
  })

  testWith(
    'globus-url-copy',
    'take and give their halves of an image',
    async () => {
      const [source, copy] = [join(folder, 'image'), join(folder, 'copy')]

      await runOk('globus-url-copy', [...STRIPES, `file://${source}`, here.url('/image')])
      await runOk('globus-url-copy', [...STRIPES, here.url('/image'), `file://${copy}`])

      const stat = await blobswarmJson(here.front.dataDir, ['stat', '/image', '--sha256'])
      expect(stat).toMatchObject({ version: 1, bytes: IMAGE_BYTES, sha256: sha256(image) })
      expect(sha256(await readFile(copy))).toBe(sha256(image))
      expectHalves(await here.moved('upload'))
      expectHalves(await here.moved('download'))
      expect(await here.throughFront()).toBe(0)
    },
    TIMEOUT_MS
  )

  testWith(
    'globus-url-copy',
    'send to the movers of another cluster directly',
    async () => {
      const before = await here.moved('download')

      const ends = [here.url('/image'), there.url('/image')]
      const { exitCode, stderr } = await run('globus-url-copy', ['-dbg', ...STRIPES, ...ends])

      const stat = await blobswarmJson(there.front.dataDir, ['stat', '/image', '--sha256'])
      expect(stat).toMatchObject({ version: 1, sha256: sha256(image) })
      expect(exitCode).toBe(0)
      expect(stderr).toMatch(/^SPOR \S+ \S+$/m)
      const sent = (await here.moved('download')).map((bytes, at) => bytes - (before[at] ?? 0))
      expectHalves(sent)
      expectHalves(await there.moved('upload'))
      expect([await here.throughFront(), await there.throughFront()]).toEqual([0, 0])
    },
    TIMEOUT_MS
  )

  testWith(
    ['globus-url-copy', 'globus-gridftp-server'],
    'send to a striped Globus server and take from it',
    async () => {
      const nodes = [await startGlobusServer(['-dn']), await startGlobusServer(['-dn'])]
      const ports = nodes.map(({ port }) => `127.0.0.1:${port}`)
      const globus = await startGlobusServer(['-r', ports.join(',')])
      const stored = `ftp://127.0.0.1:${globus.port}${globus.root}/image`

      await runOk('globus-url-copy', [...STRIPES, here.url('/image'), stored])
      await runOk('globus-url-copy', [...STRIPES, stored, here.url('/back')])

      expect(sha256((await globus.readFile('image')) ?? new Uint8Array(0))).toBe(sha256(image))
      const stat = await blobswarmJson(here.front.dataDir, ['stat', '/back', '--sha256'])
      expect(stat).toMatchObject({ version: 1, sha256: sha256(image) })
      expect(await here.throughFront()).toBe(0)
      for (const server of [globus, ...nodes]) await server.stop()
    },
    TIMEOUT_MS
  )

  testWith(
    'globus-url-copy',
    'fail an upload clearly when one is killed',
    async () => {
      await writeFile(join(folder, 'large'), sampleBytes(96 * MIB, 7))
      const args = ['-dbg', ...STRIPES, `file://${join(folder, 'large')}`, there.url('/large')]
      const copy = new RunningProgram('globus-url-copy', args)
      await copy.printed(/Stripe Bytes Transferred: [1-9]/)

      await there.movers[1]?.kill()
      const { exitCode } = await copy.ended({ timeoutMs: TIMEOUT_MS })

      expect(exitCode).toBe(1)
      const failed = cluster.log('there').lines.find((line) => line.includes('STOR /large'))
      expect(failed).toMatch(/Stripe \d of 2 \(data mover \w+\) failed/)
      await expect(blobswarmJson(there.front.dataDir, ['stat', '/large'])).rejects.toThrow()
      await runOk('globus-url-copy', [
        ...STRIPES,
        `file://${join(folder, 'image')}`,
        there.url('/b')
      ])
    },
    TIMEOUT_MS
  )
})
