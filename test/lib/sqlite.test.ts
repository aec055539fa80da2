import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { inTransaction, openDatabase } from '../../src/lib/sqlite.ts'

const FORM = {
  applicationId: 7,
  schemaVersion: 1,
  migrations: ['CREATE TABLE notes (text TEXT) STRICT']
}

let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'blobswarm-sqlite-'))
})

afterEach(() => {
  rmSync(folder, { recursive: true })
})

test('makes the file and its folder, and commits to disk', () => {
  const path = join(folder, 'deeper', 'notes.sqlite')
  const database = openDatabase(path, FORM)

  inTransaction(database, () => database.exec("INSERT INTO notes VALUES ('kept')"))

  const pragma = (name: string) => Object.values(database.prepare(`PRAGMA ${name}`).get() ?? {})[0]
  expect([pragma('journal_mode'), pragma('synchronous')]).toEqual(['wal', 2])
  database.close()
  const again = openDatabase(path, FORM)
  expect(again.prepare('SELECT text FROM notes').all()).toEqual([{ text: 'kept' }])
  again.close()
})

test('undoes a transaction that throws', () => {
  const database = openDatabase(join(folder, 'notes.sqlite'), FORM)

  const work = (): void =>
    inTransaction(database, () => {
      database.exec("INSERT INTO notes VALUES ('lost')")
      throw new Error('no')
    })

  expect(work).toThrow('no')
  expect(database.prepare('SELECT text FROM notes').all()).toEqual([])
  database.close()
})

test('brings an older file up to date, and refuses a newer one', () => {
  const path = join(folder, 'notes.sqlite')
  openDatabase(path, FORM).close()
  const next = {
    applicationId: 7,
    schemaVersion: 2,
    migrations: [...FORM.migrations, 'ALTER TABLE notes ADD COLUMN time INTEGER']
  }

  const database = openDatabase(path, next)

  database.exec("INSERT INTO notes VALUES ('new', 5)")
  database.close()
  expect(() => openDatabase(path, FORM)).toThrow('its format 2 is newer than 1')
  expect(() => openDatabase(path, { ...next, applicationId: 8 })).toThrow('another program')
})
