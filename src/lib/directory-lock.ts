/**
 * Keeps two processes from using one directory. Every process that wants it first announces itself
 * by a file of its own in the lock folder, then looks who else is there: a process that finds a
 * living one withdraws. Of two that start at the same moment at least one sees the other, so never
 * both go on. A file's name alone tells whether its process lives, so what `kill -9` left is
 * removed by whoever comes next, and removing it can hit nobody else. Processes must share one
 * table of processes.
 *
 * ```text
 * LOCK/<pid>.<start>.<boot>.<nonce>    empty file: process id, its start in clock ticks after boot
 *                                      (/proc/PID/stat, field 22), boot id, random
 * ```
 */

import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { toHex } from './bytes.ts'
import { errorCode } from './errors.ts'
import { secureBytes } from './random.ts'

const OWNER = /^(?<pid>\d{1,10})\.(?<start>\d{1,20})\.(?<boot>[0-9a-f-]{1,36})\.[0-9a-f]{8}$/

interface Owner {
  readonly pid: number
  readonly start: string
  readonly boot: string
}

/** A lock that was taken, or who has it. */
export type LockAttempt =
  | { readonly isTaken: true; readonly lock: DirectoryLock }
  | { readonly isTaken: false; readonly heldByPid: number }

/** A lock that this process holds. */
export class DirectoryLock {
  readonly #path: string

  private constructor(path: string) {
    this.#path = path
  }

  /** Tries to take the lock kept in `folder`, which is made if needed. Does not wait. */
  static async tryTake(folder: string): Promise<LockAttempt> {
    await mkdir(folder, { recursive: true })
    const self = await thisOwner()
    const name = `${self.pid}.${self.start}.${self.boot}.${toHex(secureBytes(4))}`
    const lock = new DirectoryLock(join(folder, name))
    await writeFile(lock.#path, '', { flag: 'wx' })
    const heldByPid = await otherLivingOwner(folder, name, self.boot)
    if (heldByPid === undefined) return { isTaken: true, lock }
    await lock.release()
    return { isTaken: false, heldByPid }
  }

  /** Lets others take the lock. Harmless when called twice. */
  async release(): Promise<void> {
    await rm(this.#path, { force: true })
  }
}

/** Looks for another living owner and removes the files of dead ones. */
async function otherLivingOwner(
  folder: string,
  ownName: string,
  boot: string
): Promise<number | undefined> {
  let found: number | undefined
  for (const name of await readdir(folder)) {
    if (name === ownName) continue
    const owner = parseOwner(name)
    if (owner === undefined) continue
    if (await isAlive(owner, boot)) found = owner.pid
    else await rm(join(folder, name), { force: true })
  }
  return found
}

function parseOwner(name: string): Owner | undefined {
  const groups = OWNER.exec(name)?.groups
  if (groups === undefined) return undefined
  const { pid = '', start = '', boot = '' } = groups
  return { pid: Number(pid), start, boot }
}

async function isAlive(owner: Owner, boot: string): Promise<boolean> {
  if (owner.boot !== boot) return false
  try {
    process.kill(owner.pid, 0)
  } catch (error) {
    if (errorCode(error) === 'ESRCH') return false
  }
  const start = await startOf(owner.pid)
  return start === undefined || start === owner.start
}

async function thisOwner(): Promise<Owner> {
  const boot = await textOf('/proc/sys/kernel/random/boot_id')
  return {
    pid: process.pid,
    start: (await startOf(process.pid)) ?? '0',
    boot: boot?.trim() ?? '0'
  }
}

/** Start of a process in clock ticks after boot; undefined where the system does not tell. */
async function startOf(pid: number): Promise<string | undefined> {
  const stat = await textOf(`/proc/${pid}/stat`)
  // The second field is the program's name in brackets, which may itself hold blanks and brackets.
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
}

async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch {
    return undefined // no such process, or a system without /proc
  }
}
