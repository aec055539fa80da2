import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, jest } from '@jest/globals'
import { type AgentProcess, blobswarmJson } from '../../experiments/support/agent-process.ts'
import { Cluster } from '../support/cluster.ts'
import { type GlobusServer, startGlobusServer } from '../support/globus-server.ts'
import { HoldingDoor } from '../support/holding-door.ts'
import { RunningProgram, testWith } from '../support/programs.ts'
import { sampleBytes, sha256 } from '../support/sample-bytes.ts'

const IMAGE_BYTES = 192 * 1024 * 1024
const TIMEOUT_MS = 120_000
const SETTINGS = ['--set', 'gridftp.markerInterval=20ms', '--set', 'collection.every=0s']

jest.setTimeout(TIMEOUT_MS)

const portOf = (agent: AgentProcess): number => Number(agent.ready.gridftp?.split(':').at(-1))

describe('an agent to which a Globus server sends', () => {
  let globus: GlobusServer
  let cluster: Cluster
  let agent: AgentProcess
  let door: HoldingDoor

  beforeAll(async () => {
    cluster = await Cluster.create()
    ;[globus, door, agent] = await Promise.all([
      startGlobusServer(),
      HoldingDoor.open(),
      cluster.startRepository('repository', SETTINGS)
    ])
  })

  afterAll(async () => {
    door.close()
    await Promise.all([globus.stop(), cluster.stop()])
  })

  /** Copies a file in third-party mode, and breaks that when something of it has arrived. */
  async function copyBroken(name: string, image: Uint8Array, breakIt: () => Promise<void>) {
    await writeFile(join(globus.root, name), image)
    const source = `ftp://127.0.0.1:${globus.port}${globus.root}/${name}`
    const target = `ftp://127.0.0.1:${door.port}/${name}`
    const options = '-dbg -p 2 -rst -rst-interval 1'.split(' ')
    const copy = new RunningProgram('globus-url-copy', [...options, source, target])
    await copy.printed(/Stripe Bytes Transferred: [1-9]/)
    await globus.signalSessions('SIGSTOP')
    await copy.printed(/111 Range Marker/)
    await breakIt()
    const { exitCode, stdout, stderr } = await copy.ended({ timeoutMs: TIMEOUT_MS })
    const restarts = `${stdout}${stderr}`.match(/^REST \d+-\d+\S*/gm) ?? []
    const stat = await blobswarmJson(agent.dataDir, ['stat', `/${name}`, '--sha256'])
    return { exitCode, restarts, stat }
  }

  const programs = ['globus-url-copy', 'globus-gridftp-server']

  testWith(
    programs,
    'gets the rest from where its markers were, when the agent was killed and is back',
    async () => {
      const image = sampleBytes(IMAGE_BYTES, 1)
      door.leadTo(portOf(agent))

      const { exitCode, restarts, stat } = await copyBroken('killed', image, async () => {
        door.hold() // nobody is refused while the agent is away
        await agent.kill()
        agent = await cluster.startRepository('repository', SETTINGS)
        door.leadTo(portOf(agent))
        await globus.signalSessions('SIGCONT')
      })

      expect(exitCode).toBe(0)
      // Both servers were told what had arrived.
      expect(restarts).toHaveLength(2)
      expect(new Set(restarts).size).toBe(1)
      expect(stat).toMatchObject({ version: 1, bytes: IMAGE_BYTES, sha256: sha256(image) })
    },
    TIMEOUT_MS
  )

  testWith(
    programs,
    'gets the rest when the server that sends it was killed',
    async () => {
      const image = sampleBytes(IMAGE_BYTES, 2)
      door.leadTo(portOf(agent))

      const { exitCode, restarts, stat } = await copyBroken('broken', image, async () => {
        await globus.signalSessions('SIGKILL')
      })

      expect(exitCode).toBe(0)
      expect(restarts).toHaveLength(2)
      expect(new Set(restarts).size).toBe(1)
      expect(stat).toMatchObject({ version: 1, bytes: IMAGE_BYTES, sha256: sha256(image) })
    },
    TIMEOUT_MS
  )
})
