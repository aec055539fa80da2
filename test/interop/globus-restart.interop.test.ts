import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect } from '@jest/globals'
import { BlobDsi } from '../../src/gridftp/blob-dsi.ts'
import type { FtpUser, ReadHandle } from '../../src/gridftp/dsi.ts'
import type { GridFtpOptions } from '../../src/gridftp/types.ts'
import { MIB } from '../../src/lib/bytes.ts'
import type { Repository } from '../../src/metadata/repository.ts'
import {
  digestOf,
  type OwnServer,
  type ServerUnderTest,
  urlOf
} from '../contract/gridftp-clients/bench.ts'
import { fileUrl, globusUrlCopy } from '../contract/gridftp-clients/globus-run.ts'
import { openBlobStorage } from '../support/blob-server.ts'
import { ProgramError, RunningProgram, testWith } from '../support/programs.ts'
import { sampleBytes, sha256 } from '../support/sample-bytes.ts'
import { serveStorage } from '../support/server-under-test.ts'

const BYTES = 64 * MIB
const OFTEN: GridFtpOptions = { markerIntervalMs: 20 }

/** Gives the first half of a file, and the rest when it may. */
class HaltingDsi extends BlobDsi {
  readonly #mayGoOn: Promise<void>

  constructor(repository: Repository, user: FtpUser, mayGoOn: Promise<void>) {
    super(repository, user)
    this.#mayGoOn = mayGoOn
  }

  override async openRead(path: string): Promise<ReadHandle> {
    const handle = await super.openRead(path)
    const mayGoOn = this.#mayGoOn
    return {
      bytes: handle.bytes,
      read: async function* read(range, options): AsyncGenerator<Uint8Array> {
        let at = range.offset
        for await (const bytes of handle.read(range, options)) {
          if (at >= BYTES / 2) await mayGoOn
          at += bytes.byteLength
          yield bytes
        }
      },
      close: async () => handle.close()
    }
  }
}

describe('globus-url-copy -rst between two servers of ours, when one breaks in the middle', () => {
  let folder = ''
  let digest = ''

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'blobswarm-restart-'))
    const bytes = sampleBytes(BYTES, 41)
    digest = sha256(bytes)
    await writeFile(join(folder, 'large'), bytes)
  })

  afterAll(async () => {
    await rm(folder, { recursive: true, force: true })
  })

  testWith(
    'globus-url-copy',
    'the target says what it has and the source sends only the rest',
    async () => {
      await using stack = new AsyncDisposableStack()
      const { promise: mayGoOn, resolve: goOn } = Promise.withResolvers<void>()
      const from = await serveStorage(
        await openBlobStorage((repository, user) => new HaltingDsi(repository, user, mayGoOn))
      )
      stack.defer(from.stop)
      const storage = await openBlobStorage()
      stack.defer(storage.stop)
      const serve = async (port?: number): Promise<OwnServer> =>
        serveStorage({ ...storage, stop: async () => {} }, { ...OFTEN, ...(port && { port }) })
      const first = await serve()
      await globusUrlCopy('-p 2', fileUrl(join(folder, 'large')), urlOf(from, '/large.raw'))

      const copy = startCopy(from, first)
      await copy.printed(/^111 Range Marker \d/m)
      await first.stop()
      const second = await serve(first.port)
      stack.defer(second.stop)
      goOn()
      const said = await outputOf(copy)

      expect(said.match(/^REST \d+-\d+/gm)).toHaveLength(2)
      expect(said.match(/^350 Restart without \d{5,} bytes/gm)).toHaveLength(2)
      expect(await digestOf(second, '/large.raw')).toBe(digest)
    }
  )
})

function startCopy(from: ServerUnderTest, to: ServerUnderTest): RunningProgram {
  const flags = '-dbg -rst -rst-interval 1 -p 2'.split(' ')
  const urls = [urlOf(from, '/large.raw'), urlOf(to, '/large.raw')]
  return new RunningProgram('globus-url-copy', [...flags, ...urls])
}

/** What it said in the end. @throws {ProgramError} if it failed. */
async function outputOf(copy: RunningProgram): Promise<string> {
  const result = await copy.ended()
  if (result.exitCode !== 0) throw new ProgramError('globus-url-copy -rst', result)
  return result.stderr
}
