/**
 * Commits to a database of lib/sqlite.ts, but with the given `synchronous`, and prints
 * `acknowledged WHAT` after each commit. Run under strace by durability.system.test.ts to see that the
 * check finds what is not flushed: node sqlite-driver.ts FOLDER FULL|OFF
 */
import { writeSync } from 'node:fs'
import { join } from 'node:path'
import { inTransaction, openDatabase } from '../../../src/lib/sqlite.ts'

const FORM = {
  applicationId: 7,
  schemaVersion: 1,
  migrations: ['CREATE TABLE notes (text TEXT) STRICT']
}

const [folder = '.', synchronous = 'FULL'] = process.argv.slice(2)
const database = openDatabase(join(folder, 'notes.sqlite'), FORM)
database.exec(`PRAGMA synchronous = ${synchronous}`)
for (let number = 1; number <= 3; number++) {
  inTransaction(database, () => database.exec("INSERT INTO notes VALUES ('kept')"))
  writeSync(1, `acknowledged commit ${number}\n`)
}
database.close()
