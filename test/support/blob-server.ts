import { readdir } from 'node:fs/promises'
import { BlobDsi } from '../../src/gridftp/blob-dsi.ts'
import type { FtpUser } from '../../src/gridftp/dsi.ts'
import type { GridFtpOptions } from '../../src/gridftp/types.ts'
import { KIB } from '../../src/lib/bytes.ts'
import type { Repository } from '../../src/metadata/repository.ts'
import type { OwnServer } from '../contract/gridftp-clients/bench.ts'
import { startTestRepository } from './repository.ts'
import { type StorageUnderTest, serveStorage } from './server-under-test.ts'
import { startUploadFront } from './upload-front.ts'

/** Opens a repository of its own, on disk, that keeps broken uploads. */
export async function openBlobStorage(
  openDsi = (repository: Repository, user: FtpUser) => new BlobDsi(repository, user)
): Promise<StorageUnderTest> {
  const test = await startTestRepository({ stores: 'disk' })
  const front = await startUploadFront(test, { chunkBytes: 256 * KIB })
  return {
    openStorage: (user) => openDsi(front.repository, user),
    leftovers: async () => readdir(test.stagingFolder),
    stop: async () => {
      await front.stop()
      await test.stop()
    }
  }
}

/** Starts our server over a repository of its own. */
export async function startBlobServer(options?: GridFtpOptions): Promise<OwnServer> {
  return serveStorage(await openBlobStorage(), options)
}
