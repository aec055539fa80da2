import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, expect, test } from '@jest/globals'
import { PeerCluster } from '../support/peer-cluster.ts'

const PEER_PROCESS = fileURLToPath(new URL('../support/peer-process.ts', import.meta.url))
const ECHO = { id: '/blobswarm/echo/1', maxMessageBytes: 1_000_000 }

const cluster = new PeerCluster()
afterEach(async () => cluster.stop())

test('a node in another process joins, talks, stops, and leaves nothing that holds it', async () => {
  const node = await cluster.member()
  let served = ''
  await node.serve(ECHO, async (channel) => {
    served = channel.remote.peerId
    for await (const message of channel.messages()) await channel.send([message])
  })
  const token = await cluster.token(node)

  const { stdout } = await promisify(execFile)(process.execPath, [PEER_PROCESS, token, ECHO.id], {
    timeout: 20_000
  })

  expect(stdout).toBe(`${served} got 900000 bytes\nstopped\n`)
})
