import { writeFile } from 'node:fs/promises'
import { expect } from '@jest/globals'
import { type FolderTree, writeTree } from '../../support/folder-tree.ts'
import { testWith } from '../../support/programs.ts'
import { sampleBytes, sha256 } from '../../support/sample-bytes.ts'
import { digestOf, type ServerUnderTest, urlOf } from './bench.ts'
import { fileUrl, globusUrlCopy } from './globus-run.ts'

/** Two servers; the bytes go from one to the other and not through the client. */
export interface ThirdParty {
  readonly from: ServerUnderTest
  readonly to: ServerUnderTest
  /** What is copied from one to the other. */
  readonly tree: FolderTree
  /** Path of a local file of the tests' own. */
  readonly local: (name: string) => string
}

/** What each server must have been told. */
interface ThirdPartyRow {
  readonly options: string
  readonly from: RegExp
  readonly to: RegExp
}

const FILE_ROWS: readonly ThirdPartyRow[] = [
  { options: '', from: /^SIZE .*\nPORT .*\nRETR/, to: /^PASV\nALLO 3000000\nSTOR/m },
  {
    options: '-p 4',
    from: /^MODE E\nSIZE .*\nOPTS RETR Parallelism=4,4,4;\nPORT .*\nRETR/,
    to: /^PASV\nALLO 3000000\nSTOR/m
  },
  { options: '-p 4 -fast', from: /^PORT /m, to: /^PASV$/m },
  { options: '-stripe', from: /^PORT /m, to: /^SPAS$/m },
  { options: '-stripe -p 2', from: /^OPTS RETR Parallelism=2,2,2;\nPORT /m, to: /^SPAS$/m },
  {
    options: '-dp',
    from: /^PORT /m,
    to: /^OPTS PASV AllowDelayed=1;\nPASV\nALLO 3000000\nSTOR/m
  },
  { options: '-dp -p 2', from: /^PORT /m, to: /^OPTS PASV AllowDelayed=1;\nPASV/m },
  { options: '-notpt -p 2', from: /^PORT .*\nRETR/m, to: /^PASV\nALLO 3000000\nSTOR/m },
  { options: '-rst -vb -p 2', from: /^RETR/m, to: /^STOR/m },
  { options: '-verify-checksum', from: /^CKSM MD5 0 -1 /m, to: /^CKSM MD5 0 -1 /m },
  {
    options: '-verify-checksum -checksum-alg SHA256 -p 2',
    from: /^CKSM SHA256 0 -1 /m,
    to: /^CKSM SHA256 0 -1 /m
  }
]

const FOLDER_ROWS: readonly ThirdPartyRow[] = [
  { options: '-r', from: /^PASV\nMLSD /m, to: /^PASV\nALLO/m },
  { options: '-r -fast', from: /^PORT .*\nMLSD /m, to: /^PASV\nALLO/m },
  { options: '-r -p 2 -cc 2', from: /^RETR/m, to: /^STOR/m },
  { options: '-pp -r', from: /^RETR .*\nRETR /m, to: /^STOR .*\nSTOR /m },
  { options: '-pp -r -p 2 -fast', from: /^RETR .*\nRETR /m, to: /^STOR .*\nSTOR /m }
]

/** Every way in which globus-url-copy lets two servers copy. */
export function testThirdParty(programs: readonly string[], get: () => ThirdParty): void {
  const bytes = sampleBytes(3_000_000, 21)
  let uploaded: Promise<unknown> | undefined

  const upload = async ({ from, tree, local }: ThirdParty): Promise<void> => {
    await writeTree(local('third'), { ...tree, 'big.raw': bytes })
    await globusUrlCopy('-r -cd -fast', fileUrl(local('third/')), urlOf(from, '/third/'))
  }
  const sources = async (): Promise<ThirdParty> => {
    uploaded ??= upload(get())
    await uploaded
    return get()
  }

  for (const [index, row] of FILE_ROWS.entries()) {
    testWith(programs, `third party ${row.options || 'stream'}`, async () => {
      const { from, to } = await sources()
      const target = `/file${index}/big.raw`

      const run = await globusUrlCopy(
        `-cd ${row.options}`,
        urlOf(from, '/third/big.raw'),
        urlOf(to, target)
      )

      expect(run.sent(from)).toMatch(row.from)
      expect(run.sent(to)).toMatch(row.to)
      expect(await digestOf(to, target)).toBe(sha256(bytes))
    })
  }

  for (const [index, row] of FOLDER_ROWS.entries()) {
    testWith(programs, `third party ${row.options}: a tree of folders`, async () => {
      const { from, to, tree } = await sources()

      const run = await globusUrlCopy(
        `-cd ${row.options}`,
        urlOf(from, '/third/'),
        urlOf(to, `/tree${index}/`)
      )

      expect(run.sent(from)).toMatch(row.from)
      expect(run.sent(to)).toMatch(row.to)
      for (const [path, content] of Object.entries(tree)) {
        expect([path, await digestOf(to, `/tree${index}/${path}`)]).toEqual([path, sha256(content)])
      }
    })
  }

  for (const options of ['', '-p 2']) {
    testWith(programs, `third party -off -len ${options}: a part over a file`, async () => {
      const { from, to, local } = await sources()
      const expected = sampleBytes(2_000_000, 22)
      await writeFile(local('under'), expected)
      await globusUrlCopy('', fileUrl(local('under')), urlOf(to, '/under.raw'))
      expected.set(bytes.subarray(100_000, 700_000), 100_000)

      const run = await globusUrlCopy(
        `-off 100000 -len 600000 ${options}`,
        urlOf(from, '/third/big.raw'),
        urlOf(to, '/under.raw')
      )

      expect(run.sent(from)).toMatch(/^ERET P 100000 600000 /m)
      expect(run.sent(to)).toMatch(/^ESTO A 100000 /m)
      expect(await digestOf(to, '/under.raw')).toBe(sha256(expected))
    })
  }

  testWith(programs, 'third party -sync -sync-level 3: what has another checksum', async () => {
    const { from, to, local } = await sources()
    const fresh = { 'a.raw': sampleBytes(10, 1), 'b.raw': sampleBytes(10, 2) }
    await writeTree(local('level'), fresh)
    await globusUrlCopy('-r -cd', fileUrl(local('level/')), urlOf(from, '/level/'))
    await globusUrlCopy('-r -cd', fileUrl(local('level/')), urlOf(to, '/level/'))
    await writeFile(local('level/b.raw'), sampleBytes(10, 3))
    await globusUrlCopy('', fileUrl(local('level/b.raw')), urlOf(to, '/level/b.raw'))

    const run = await globusUrlCopy(
      '-r -cd -sync -sync-level 3',
      urlOf(from, '/level/'),
      urlOf(to, '/level/')
    )

    expect(run.sent(from).match(/^RETR .*/gm)).toEqual([expect.stringMatching(/b\.raw$/)])
    expect(await digestOf(to, '/level/b.raw')).toBe(sha256(fresh['b.raw']))
  })
}
