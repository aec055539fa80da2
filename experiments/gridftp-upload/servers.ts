import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { AgentProcess } from '../support/agent-process.ts'

export const SERVER_NAMES = ['blobswarm', 'globus'] as const
export type ServerName = (typeof SERVER_NAMES)[number]

/** A GridFTP server as a process, empty at first, with its files below a folder. */
export interface MeasuredServer {
  readonly name: ServerName
  readonly pid: number
  readonly url: (path: string) => string
  /** Where a file is on this machine, if it is a plain file there. */
  readonly fileOf: (path: string) => string | undefined
  /** Bytes of uploads that were known already and not stored again. */
  readonly reusedBytes: () => Promise<number>
  /** Ends it and removes its files. */
  readonly stop: () => Promise<void>
}

export interface ServerOptions {
  /** Its own; made and removed. */
  readonly folder: string
  /** Settings of the agent, `key=value`. */
  readonly settings?: readonly string[]
  /** Where the agent leaves its processor profile, if given. */
  readonly profileFolder?: string | undefined
}

const running = new Set<MeasuredServer>()

/** Starts one; it listens when this resolves. */
export async function startServer(
  name: ServerName,
  options: ServerOptions
): Promise<MeasuredServer> {
  await mkdir(options.folder, { recursive: true })
  const start = name === 'blobswarm' ? startBlobswarm : startGlobus
  const server = await start(options)
  running.add(server)
  return {
    ...server,
    stop: async () => {
      running.delete(server)
      await server.stop()
      await rm(options.folder, { recursive: true, force: true })
    }
  }
}

/** Stops what a signal interrupts. */
export async function stopRunningServers(): Promise<void> {
  await Promise.allSettled(Array.from(running, async (server) => server.stop()))
}

/** All roles in one agent, as it is without configuration. */
async function startBlobswarm(options: ServerOptions): Promise<MeasuredServer> {
  const { folder, settings = [], profileFolder } = options
  const all = ['agent.logLevel=error', 'gridftp.listen=127.0.0.1:0', ...settings]
  const profiling =
    profileFolder === undefined
      ? []
      : ['env', `NODE_OPTIONS=--cpu-prof --cpu-prof-dir=${profileFolder}`]
  const agent = await AgentProcess.start({
    dataDir: folder,
    args: ['--http', '127.0.0.1:0', ...all.flatMap((setting) => ['--set', setting])],
    prefix: profiling,
    onLog: (line) => process.stderr.write(`${line}\n`)
  })
  return {
    name: 'blobswarm',
    pid: agent.ready.pid,
    url: (path) => `ftp://${agent.ready.gridftp}${path}`,
    fileOf: () => undefined,
    reusedBytes: async () => reusedBytes(agent.ready.http ?? ''),
    stop: async () => void (await agent.stop())
  }
}

async function reusedBytes(address: string): Promise<number> {
  const text = await (await fetch(`http://${address}/metrics`)).text()
  return Number(
    /^blobswarm_metadata_uploaded_bytes_total\{kind="reused"\} (\S+)/m.exec(text)?.[1] ?? 0
  )
}

/** Anonymous, as it is without configuration; it serves every session in a process of its own. */
async function startGlobus({ folder }: ServerOptions): Promise<MeasuredServer> {
  await chmod(folder, 0o777)
  const user = process.getuid?.() === 0 ? ['-anonymous-user', 'nobody'] : []
  const addresses = ['-control-interface', '127.0.0.1', '-data-interface', '127.0.0.1']
  const limits = ['-connections-max', '100']
  const child = spawn(
    'globus-gridftp-server',
    ['-aa', '-port', '0', '-home-dir', '/', ...addresses, ...limits, ...user],
    { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, PATH: withSystemFolders() } }
  )
  const exited = once(child, 'exit')
  const port = await Promise.race([listeningPort(child.stdout), exited.then(() => undefined)])
  if (port === undefined) throw new Error('globus-gridftp-server ended before it listened')
  return {
    name: 'globus',
    pid: child.pid ?? 0,
    url: (path) => `ftp://127.0.0.1:${port}${join(folder, path)}`,
    fileOf: (path) => join(folder, path),
    reusedBytes: async () => 0,
    stop: async () => {
      child.kill('SIGKILL')
      await exited
    }
  }
}

async function listeningPort(output: NodeJS.ReadableStream): Promise<number | undefined> {
  for await (const line of createInterface({ input: output })) {
    const found = /Server listening at \S*:(\d+)/.exec(line)
    if (found !== null) return Number(found[1])
  }
  return undefined
}

function withSystemFolders(): string {
  return `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/sbin`
}
