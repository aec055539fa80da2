/** Sessions over a storage that keeps broken uploads, test/fixtures/gridftp-restart/*.txt. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { GridFtpStage } from '../support/gridftp-stage.ts'
import { RestartableDsi } from '../support/restartable-dsi.ts'
import { SessionTranscript } from '../support/session-transcript.ts'

const FOLDER = join(import.meta.dirname, '../fixtures/gridftp-restart')

test.each((await readdir(FOLDER)).toSorted())('%s', async (file) => {
  const script = await readFile(join(FOLDER, file), 'utf8')
  const storage = new RestartableDsi()
  await using stage = await GridFtpStage.open({ storage })

  const seen = await new SessionTranscript(await stage.connect()).play(script)
  await stage.server.stop()

  expect(seen).toBe(script.trimEnd())
  expect([storage.openUploads, storage.openReads]).toEqual([0, 0])
  expect(storage.keptPaths).toEqual([])
})
