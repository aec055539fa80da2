import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RunningProgram } from './programs.ts'

/** The Globus Toolkit's own server, anonymous, on loopback. */
export interface GlobusServer {
  readonly port: number
  /** Folder on the server, and of this machine, in which the tests may write. */
  readonly root: string
  readonly stop: () => Promise<void>
  /** Content of a file below `root`, undefined if there is none. */
  readonly readFile: (path: string) => Promise<Uint8Array | undefined>
  /** Sends every session a signal, such as SIGSTOP. */
  readonly signalSessions: (signal: NodeJS.Signals) => Promise<void>
}

/** Starts `globus-gridftp-server` on a free port. @param extra further options, such as `-dn`. */
export async function startGlobusServer(extra: readonly string[] = []): Promise<GlobusServer> {
  const folder = await mkdtemp(join(tmpdir(), 'blobswarm-globus-'))
  await chmod(folder, 0o777)
  const isRoot = process.getuid?.() === 0
  const options = '-aa -port 0 -home-dir / -control-interface 127.0.0.1 -data-interface 127.0.0.1'
  const user = isRoot ? ['-anonymous-user', 'nobody'] : []
  const server = new RunningProgram('globus-gridftp-server', [
    ...options.split(' '),
    ...user,
    ...extra
  ])
  const stop = async (): Promise<void> => {
    server.kill()
    await server.ended()
    await rm(folder, { recursive: true, force: true })
  }
  try {
    const listening = await server.printed(/Server listening at \S*:(\d+)/)
    const { pid } = server.child
    if (pid === undefined) throw new Error('a server without a process')
    const signalSessions = async (signal: NodeJS.Signals): Promise<void> =>
      signalChildren(pid, signal)
    const port = Number(listening[1])
    return { port, root: folder, stop, readFile: fileBelow(folder), signalSessions }
  } catch (error) {
    await stop()
    throw error
  }
}

function fileBelow(folder: string): GlobusServer['readFile'] {
  return async (path) => {
    try {
      return await readFile(join(folder, path))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }
}

/** Each session is a process of its own. */
async function signalChildren(parent: number, signal: NodeJS.Signals): Promise<void> {
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '')
    // pid (command) state ppid …, and the command may hold anything
    const parentOf = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
    if (parentOf === parent) process.kill(Number(name), signal)
  }
}
