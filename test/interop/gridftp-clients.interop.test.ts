import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FileDsi } from '../../src/gridftp/file-dsi.ts'
import { UPLOADS_FOLDER } from '../../src/gridftp/file-upload.ts'
import { testGridFtpClients } from '../contract/gridftp-clients.ts'
import { serveStorage } from '../support/server-under-test.ts'

testGridFtpClients('GridFtpServer over plain files', async (options) => {
  const folder = await mkdtemp(join(tmpdir(), 'blobswarm-files-'))
  const storage = await FileDsi.open(folder)
  return serveStorage(
    {
      openStorage: () => storage,
      leftovers: async () => readdir(join(folder, UPLOADS_FOLDER)),
      stop: async () => rm(folder, { recursive: true, force: true })
    },
    options
  )
})
