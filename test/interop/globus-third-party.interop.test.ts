import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect } from '@jest/globals'
import { digestOf, type OwnServer, TREE, urlOf } from '../contract/gridftp-clients/bench.ts'
import { runGlobus } from '../contract/gridftp-clients/globus-run.ts'
import { testThirdParty } from '../contract/gridftp-clients/globus-third-party.ts'
import { startBlobServer } from '../support/blob-server.ts'
import { writeTree } from '../support/folder-tree.ts'
import { type GlobusServer, startGlobusServer } from '../support/globus-server.ts'
import { findProgram, testWith } from '../support/programs.ts'
import { sampleBytes, sha256 } from '../support/sample-bytes.ts'

/** The Globus server leaves bytes that are not ASCII out of names. */
const tree = Object.fromEntries(
  Object.entries(TREE).map(([path, bytes]) => [
    path.replaceAll('ö', 'oe').replaceAll('ß', 'ss'),
    bytes
  ])
)

const PROGRAMS = ['globus-url-copy', 'globus-gridftp-server']

describe('between GridFtpServer over blobs and globus-gridftp-server', () => {
  let ours: OwnServer
  let theirs: GlobusServer | undefined
  let folder = ''

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'blobswarm-third-party-'))
    ours = await startBlobServer()
    if (findProgram('globus-gridftp-server') !== undefined) theirs = await startGlobusServer()
  })

  afterAll(async () => {
    await theirs?.stop()
    await ours.stop()
    await rm(folder, { recursive: true, force: true })
  })

  const local = (name: string): string => join(folder, name)

  describe('from the Globus server to ours', () => {
    testThirdParty(PROGRAMS, () => ({ from: theirs ?? ours, to: ours, tree, local }))
  })

  describe('from ours to the Globus server', () => {
    testThirdParty(PROGRAMS, () => ({ from: ours, to: theirs ?? ours, tree, local }))
  })

  testWith(
    PROGRAMS,
    '-pp -r: more files than other servers let wait in a pipeline',
    async () => {
      const from = theirs ?? ours
      const names = Array.from({ length: 1020 }, (_, index) => `f${index}`)
      const files = names.map((name, index) => [name, sampleBytes(9, index)] as const)
      await writeTree(join(theirs?.root ?? '', 'many'), Object.fromEntries(files))

      const urls = [urlOf(from, '/many/'), urlOf(ours, '/many/')]
      const run = await runGlobus('-pp -r -cd', urls, 60_000)

      expect(run.exitCode).toBe(0)
      expect(run.sent(ours).match(/^STOR /gm)).toHaveLength(names.length)
      for (const [name, bytes] of files) {
        expect([name, await digestOf(ours, `/many/${name}`)]).toEqual([name, sha256(bytes)])
      }
    },
    90_000
  )
})
