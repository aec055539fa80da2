/** Broken uploads into the repository, as a client sees them. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { BlobDsi } from '../../src/gridftp/blob-dsi.ts'
import { MODE_E_EOD, MODE_E_EOF } from '../../src/gridftp/mode-e-header.ts'
import { beginStore, storeBytes } from '../support/ftp-upload.ts'
import { GridFtpStage } from '../support/gridftp-stage.ts'
import { block, openData, type RawFtp } from '../support/raw-ftp.ts'
import { startTestRepository, type TestRepository } from '../support/repository.ts'
import { sampleBytes } from '../support/sample-bytes.ts'
import { startUploadFront, type UploadFront } from '../support/upload-front.ts'

const CHUNK = 65_536
const image = sampleBytes(4 * CHUNK + 10)

let run: TestRepository
let front: UploadFront
let stage: GridFtpStage
let raw: RawFtp

beforeAll(async () => {
  run = await startTestRepository({ chunkBytes: CHUNK })
  front = await startUploadFront(run)
  const user = { name: 'ada', root: '/', mayWrite: true }
  stage = await GridFtpStage.open({ storage: new BlobDsi(front.repository, user) })
  raw = await stage.login()
})

afterAll(async () => {
  await stage[Symbol.asyncDispose]()
  await front.stop()
  await run.stop()
})

/** Sends two chunks and a part of a third, and breaks. @returns all replies but performance markers. */
async function breakUpload(path: string): Promise<string[]> {
  const data = await beginStore(raw, path, 'E')
  data.write(block(0, CHUNK, image.subarray(CHUNK, 2 * CHUNK + 500)))
  data.write(block(0, 0, image.subarray(0, CHUNK)))
  data.end()
  return await replies()
}

async function replies(): Promise<string[]> {
  const all: string[] = []
  for (;;) {
    const reply = await raw.reply()
    if (!reply.startsWith('112')) all.push(reply)
    if (!reply.startsWith('11')) return all
  }
}

async function continueUpload(path: string, from: number): Promise<string[]> {
  const port = await raw.passive()
  await raw.command(`REST 0-${from}`)
  const data = await openData(port)
  const opening = await raw.command(`STOR ${path}`)
  if (!opening.startsWith('150')) return [opening]
  data.write(block(0, from, image.subarray(from)))
  data.write(block(MODE_E_EOD | MODE_E_EOF, 1))
  return await replies()
}

describe('a broken upload into the repository', () => {
  test('promises whole chunks, and goes on from there', async () => {
    const broken = await breakUpload('image')
    const ended = await continueUpload('image', 2 * CHUNK)
    const snapshot = await front.repository.openRead('/image')
    const parts = await Array.fromAsync(snapshot.read({ offset: 0, length: snapshot.bytes }))

    expect(broken).toEqual([
      `111 Range Marker 0-${2 * CHUNK}`,
      '426 Data connection ended before its EOD'
    ])
    expect(ended).toEqual([
      `111 Range Marker ${2 * CHUNK}-${image.byteLength}`,
      '226 Transfer complete.'
    ])
    expect(Buffer.concat(parts).equals(image)).toBe(true)
  })

  test.each([
    ['removed', async () => void (await raw.command('DELE gone'))],
    ['stored anew as a stream', async () => void (await storeBytes(raw, 'gone', image, 'S'))],
    ['stored anew in blocks', async () => void (await storeBytes(raw, 'gone', image, 'E'))]
  ])('is forgotten when its path is %s', async (_, happens) => {
    await breakUpload('gone')
    const kept = front.kept.keptCount

    await happens()
    await raw.command('MODE E')

    expect(kept).toBe(1)
    expect(front.kept.keptCount).toBe(0)
    expect(await continueUpload('gone', 2 * CHUNK)).toEqual([
      `554 /gone: cannot continue the upload: the broken upload has lost bytes 0-${2 * CHUNK}: nothing is kept of it. Send the whole file.`
    ])
  })
})
