import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { sha256 } from './sample-bytes.ts'

/** Files of a folder tree, by their path inside it. */
export type FolderTree = Readonly<Record<string, Uint8Array>>

/** Writes the files below `folder`, with the folders that they need. */
export async function writeTree(folder: string, tree: FolderTree): Promise<void> {
  for (const [path, bytes] of Object.entries(tree)) {
    await mkdir(dirname(join(folder, path)), { recursive: true })
    await writeFile(join(folder, path), bytes)
  }
}

/** SHA-256 of each file, by path: what two equal trees have in common. */
export function digestTree(tree: FolderTree): Record<string, string> {
  return Object.fromEntries(Object.entries(tree).map(([path, bytes]) => [path, sha256(bytes)]))
}

/** `digestTree` of what is on disk below `folder`. */
export async function digestFolder(folder: string): Promise<Record<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const tree: Record<string, Uint8Array> = {}
  for (const entry of entries.filter((candidate) => candidate.isFile())) {
    const path = join(entry.parentPath, entry.name)
    tree[relative(folder, path)] = await readFile(path)
  }
  return digestTree(tree)
}
