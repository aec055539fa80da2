import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RunningProgram } from './programs.ts'

/** The Globus Toolkit's own server, anonymous, on loopback. */
export interface GlobusServer {
  readonly port: number
  /** Folder on the server, and of this machine, in which the tests may write. */
  readonly root: string
  stop(): Promise<void>
}

/** Starts `globus-gridftp-server` on a free port. */
export async function startGlobusServer(): Promise<GlobusServer> {
  const folder = await mkdtemp(join(tmpdir(), 'blobswarm-globus-'))
  await chmod(folder, 0o777)
  const isRoot = process.getuid?.() === 0
  const options = '-aa -port 0 -home-dir / -control-interface 127.0.0.1 -data-interface 127.0.0.1'
  const user = isRoot ? ['-anonymous-user', 'nobody'] : []
  const server = new RunningProgram('globus-gridftp-server', [...options.split(' '), ...user])
  const stop = async (): Promise<void> => {
    server.kill()
    await server.ended()
    await rm(folder, { recursive: true, force: true })
  }
  try {
    const listening = await server.printed(/Server listening at \S*:(\d+)/)
    return { port: Number(listening[1]), root: folder, stop }
  } catch (error) {
    await stop()
    throw error
  }
}
