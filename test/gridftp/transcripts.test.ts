/** Whole sessions as text, test/fixtures/gridftp/*.txt; the language is SessionTranscript's. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import type { Authenticator } from '../../src/gridftp/auth.ts'
import { GridFtpStage } from '../support/gridftp-stage.ts'
import { SessionTranscript } from '../support/session-transcript.ts'

const FOLDER = join(import.meta.dirname, '../fixtures/gridftp')

const people: Authenticator = {
  authenticate: async ({ name, password }) => {
    if (name === 'anonymous') return { name, root: '/', mayWrite: true }
    if (password !== 'right') return undefined
    return { name, root: `/home/${name}`, mayWrite: name !== 'reader' }
  }
}

test.each((await readdir(FOLDER)).toSorted())('%s', async (file) => {
  const script = await readFile(join(FOLDER, file), 'utf8')
  await using stage = await GridFtpStage.open({ authenticator: people })
  stage.storage.put('/home/ada/notes.txt', Buffer.from('hello\n'))
  stage.storage.put('/home/reader/notes.txt', Buffer.from('hello\n'))
  stage.storage.put('/images/disk one.raw', Buffer.from('0123456789'))

  const seen = await new SessionTranscript(await stage.connect()).play(script)
  await stage.server.stop() // what a client that hung up has left is gone then

  expect(seen).toBe(script.trimEnd())
  expect([stage.storage.openUploads, stage.storage.openReads]).toEqual([0, 0])
})
