import type { GridFtpOptions } from '../../../src/gridftp/types.ts'
import { MIB } from '../../../src/lib/bytes.ts'
import type { FolderTree } from '../../support/folder-tree.ts'
import { sampleBytes, sha256 } from '../../support/sample-bytes.ts'

/** A GridFTP server with anonymous login on this machine, empty at first. */
export interface ServerUnderTest {
  /** @default '127.0.0.1' */
  readonly host?: string
  readonly port: number
  /** Folder on the server that its paths are in. @default '' */
  readonly root?: string
  readonly stop: () => Promise<void>
  /** Content of a file, undefined if there is none. */
  readonly readFile: (path: string) => Promise<Uint8Array | undefined>
}

/** A server of ours. */
export interface OwnServer extends ServerUnderTest {
  /** Resolves when the next upload to `path` has failed and everything of it is gone. */
  readonly uploadFailed: (path: string) => Promise<void>
  /** Names of what the storage still keeps of uploads that were not published. */
  readonly leftovers: () => Promise<readonly string[]>
}

/** Starts a server over a storage of its own. */
export type StartServer = (options?: GridFtpOptions) => Promise<OwnServer>

/** What the tests of one client need. */
export interface Bench {
  readonly server: OwnServer
  /** `ftp://127.0.0.1:PORT` and a path. */
  readonly url: (path: string) => string
  /** Path of a local file of the tests' own. */
  readonly local: (name: string) => string
  /** Starts one more server, stopped at the end. */
  readonly another: StartServer
}

/** The bench exists only while tests run. */
export type GetBench = () => Bench

/** Nothing, one byte, odd ones, and more than a socket holds. */
export const SIZES = [0, 1, 65_535, 3_000_000, 20 * MIB]

/** Files with what clients trip over in their names. */
export const TREE = {
  'empty.txt': new Uint8Array(),
  'one.bin': sampleBytes(1, 11),
  'with space.bin': sampleBytes(70_000, 12),
  'inner/größe.bin': sampleBytes(300_001, 13),
  'inner/deeper/last.bin': sampleBytes(2_500_000, 14)
}

const NAMES =
  "-dash/ lead/trail /q'uote/per%cent/hash#x/ques?tion/semi;colon/back\\slash/st*ar/[br]/ü ñ 漢字/" +
  'at@sign/plus+eq=/~tilde/a&b/...'

/** One file for each name that a client or a server could trip over. */
export const ODD_NAMES: FolderTree = Object.fromEntries(
  NAMES.split('/').map((name, index) => [name, sampleBytes(100 + index, index)])
)

/** URL of a path on a server. */
export function urlOf(
  { host = '127.0.0.1', port, root = '' }: ServerUnderTest,
  path: string
): string {
  const name = host.includes(':') ? `[${host}]` : host
  return `ftp://${name}:${port}${encodeURI(root + path)}`
}

/** SHA-256 of a file on a server, undefined if there is none. */
export async function digestOf(server: ServerUnderTest, path: string): Promise<string | undefined> {
  const bytes = await server.readFile(path)
  return bytes === undefined ? undefined : sha256(bytes)
}
