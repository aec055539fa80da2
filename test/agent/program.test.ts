import { readFileSync } from 'node:fs'
import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from '@jest/globals'
import { run } from '../support/programs.ts'
import { temporaryFolders } from '../support/temporary-folder.ts'

const PROGRAM = fileURLToPath(new URL('../../bin/blobswarm', import.meta.url))
const newFolder = temporaryFolders()

test('runs from a link elsewhere, on the bundled Node.js whatever is on PATH', async () => {
  const folder = await newFolder()
  await symlink(PROGRAM, join(folder, 'blobswarm'))
  await writeFile(join(folder, 'node'), '#!/bin/sh\nexit 99\n')
  await chmod(join(folder, 'node'), 0o755)

  const env = { PATH: `${folder}:/usr/bin:/bin` }
  const { exitCode, stdout } = await run(join(folder, 'blobswarm'), ['--version'], { env })

  expect(exitCode).toBe(0)
  expect(stdout).toMatch(/^blobswarm \d/)
})

test('says what it needs where Node.js is too old and there is no other', async () => {
  const folder = await newFolder()
  await mkdir(join(folder, 'bin'))
  await writeFile(join(folder, 'package.json'), '{"type":"module"}')
  const program = readFileSync(PROGRAM, 'utf8').replace('NEEDED_MAJOR = 24', 'NEEDED_MAJOR = 999')
  await writeFile(join(folder, 'bin', 'blobswarm'), program)

  const { exitCode, stderr } = await run(process.execPath, [join(folder, 'bin', 'blobswarm')])

  expect(exitCode).toBe(1)
  expect(stderr).toMatch(/^blobswarm needs Node\.js 999 or later, this is \d+\.\d+\.\d+ [^\n]*\n$/)
})
