import { spawn } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runProgram } from '../support/agent-process.ts'
import { TestbedError } from '../testbed/iproute.ts'
import { HostProcess } from './host-process.ts'
import type { Stage } from './stage.ts'

const TRACKER = fileURLToPath(new URL('tracker.ts', import.meta.url))
const TRACKER_PORT = 6969
/** What clients are told, and what they ask by. */
export const ANNOUNCE_SECONDS = 5

/** Makes a torrent of the stage's image. @param pieceBytes a power of two. */
export async function makeTorrent(stage: Stage, pieceBytes: number): Promise<string> {
  const torrent = join(stage.folder, 'image.torrent')
  const announce = `http://${stage.testbed.address(0)}:${TRACKER_PORT}/announce`
  const args = ['-l', String(Math.log2(pieceBytes)), '-a', announce, '-o', torrent]
  const { code, stderr } = await runProgram('mktorrent', [...args, stage.image.path])
  if (code !== 0) throw new Error(`mktorrent: ${stderr}`)
  return torrent
}

/** The tracker runs at the source. */
export async function startTracker(stage: Stage): Promise<HostProcess> {
  const args = [TRACKER, String(TRACKER_PORT), String(ANNOUNCE_SECONDS)]
  const tracker = new HostProcess([...stage.testbed.prefix(0), process.execPath, ...args])
  await tracker.line('ready')
  return tracker
}

/** Folder for a client's copy. */
export async function copyFolder(stage: Stage, host: number): Promise<string> {
  const folder = join(stage.folder, `host-${host}`)
  await mkdir(folder, { recursive: true })
  return folder
}

/** @throws {TestbedError} that names the Debian package of a program that is missing. */
export async function needPrograms(
  programs: readonly { readonly command: readonly string[]; readonly debian: string }[]
): Promise<void> {
  for (const { command, debian } of programs) {
    const [program = '', ...args] = command
    const isThere = await new Promise<boolean>((resolve) => {
      const child = spawn(program, args, { stdio: 'ignore' })
      child.once('error', () => resolve(false)).once('exit', (code) => resolve(code !== 127))
      child.once('exit', (code) => resolve(code === 0 || program === 'mktorrent'))
    })
    if (isThere) continue
    throw new TestbedError(`${command.join(' ')} does not work: apt-get install ${debian}`)
  }
}
