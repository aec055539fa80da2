import { readdir, readFile, readlink, stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { iproute, TestbedError } from './iproute.ts'

/** Whose testbed it is: the process, and when that began, for its number may be given again. */
export interface TestbedOwner {
  /** Tells testbeds of one process apart; lower-case letters and digits. */
  readonly label: string
  readonly pid: number
  /** Clock ticks after boot (/proc/PID/stat, field 22). */
  readonly start: string
}

/** A testbed that is there, wholly or in parts. */
export interface FoundTestbed {
  readonly owner: TestbedOwner
  readonly names: readonly string[]
  readonly isOwnerAlive: boolean
}

const NAME = /^(?<prefix>bsw-(?<label>[a-z0-9]+)-(?<pid>\d+)-(?<start>\d+))-(?:hub|\d+)$/
const FOLDER = '/run/netns'
const KILL_WITHIN_MS = 10_000
const POLL_MS = 20

/** What the names of its namespaces begin with. */
export function prefixOf({ label, pid, start }: TestbedOwner): string {
  return `bsw-${label}-${pid}-${start}`
}

/** This process as an owner. */
export async function ownerHere(label: string): Promise<TestbedOwner> {
  const start = await startOf(process.pid)
  if (start === undefined) throw new TestbedError('there is no /proc')
  return { label, pid: process.pid, start }
}

/** All testbeds on this machine. */
export async function findTestbeds(): Promise<FoundTestbed[]> {
  const found = new Map<string, { owner: TestbedOwner; names: string[] }>()
  for (const name of await namespaceNames()) {
    const { prefix = '', label = '', pid = '', start = '' } = NAME.exec(name)?.groups ?? {}
    if (prefix === '') continue
    const known = found.get(prefix) ?? { owner: { label, pid: Number(pid), start }, names: [] }
    known.names.push(name)
    found.set(prefix, known)
  }
  return Promise.all(
    Array.from(found.values(), async ({ owner, names }) => {
      return { owner, names, isOwnerAlive: (await startOf(owner.pid)) === owner.start }
    })
  )
}

/** Removes what owners have left that are no more. @returns their process ids. */
export async function removeLeftovers(): Promise<number[]> {
  const left = (await findTestbeds()).filter(({ isOwnerAlive }) => !isOwnerAlive)
  for (const { names } of left) await removeNamespaces(names)
  return left.map(({ owner }) => owner.pid)
}

/** Ends what runs in the namespaces, all of it started there, and removes them. */
export async function removeNamespaces(names: readonly string[]): Promise<void> {
  const inodes = await inodesOf(names)
  const endMs = performance.now() + KILL_WITHIN_MS
  for (let pids = await pidsIn(inodes); pids.length > 0; pids = await pidsIn(inodes)) {
    if (performance.now() > endMs) throw new TestbedError(`cannot end processes ${pids.join()}`)
    for (const pid of pids) killIfThere(pid)
    await sleep(POLL_MS)
  }
  for (const name of names) {
    try {
      await iproute('ip', ['netns', 'del', name])
    } catch (error) {
      if ((await namespaceNames()).includes(name)) throw error
    }
  }
}

async function namespaceNames(): Promise<string[]> {
  try {
    return await readdir(FOLDER)
  } catch {
    return [] // nobody has made one since the machine started
  }
}

async function inodesOf(names: readonly string[]): Promise<Set<number>> {
  const { ino: own } = await stat('/proc/self/ns/net')
  const inodes = await Promise.all(
    names.map(async (name) => {
      try {
        return (await stat(`${FOLDER}/${name}`)).ino
      } catch {
        return own // removed meanwhile
      }
    })
  )
  return new Set(inodes.filter((inode) => inode !== own))
}

async function pidsIn(inodes: ReadonlySet<number>): Promise<number[]> {
  const pids = (await readdir('/proc')).map(Number).filter((pid) => pid > 0)
  const isIn = await Promise.all(
    pids.map(async (pid) => {
      try {
        const link = await readlink(`/proc/${pid}/ns/net`)
        return inodes.has(Number(link.slice('net:['.length, -1)))
      } catch {
        return false // ended meanwhile
      }
    })
  )
  return pids.filter((_, index) => isIn[index])
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // it has ended
  }
}

/** @returns undefined if there is no such process, or only its remains. */
async function startOf(pid: number): Promise<string | undefined> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8')
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19]
  } catch {
    return undefined
  }
}
