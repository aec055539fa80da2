import type { Socket } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { GridFtpClient } from '../../src/gridftp/client.ts'
import type { UploadSource } from '../../src/gridftp/client-files.ts'
import type { GridFtpClientOptions } from '../../src/gridftp/client-types.ts'
import {
  decodeModeEHeader,
  encodeModeEHeader,
  MODE_E_HEADER_BYTES,
  type ModeEHeader,
  modeEPayloadBytes
} from '../../src/gridftp/mode-e-header.ts'
import { type Clock, systemClock } from '../../src/lib/clock.ts'
import { playFtpServer, type ScriptedServer, type ScriptedSession } from './scripted-ftp-server.ts'

export interface ClientStageOptions extends GridFtpClientOptions {
  readonly clock?: Clock
}

type Script = (session: ScriptedSession) => Promise<void>

/** A client beside a server that plays a script. */
export interface ClientStage {
  readonly client: GridFtpClient
  readonly server: ScriptedServer
  readonly connect: () => Promise<void>
}

const stages = new Set<ClientStage>()

/** Sets up a client that has not connected yet. */
export async function setStage(
  script: Script,
  options: ClientStageOptions = {}
): Promise<ClientStage> {
  const server = await playFtpServer(script)
  const client = new GridFtpClient({ clock: options.clock ?? systemClock }, options)
  const connect = async (): Promise<void> =>
    client.connect({ host: '127.0.0.1', port: server.port })
  const stage = { client, server, connect }
  stages.add(stage)
  return stage
}

/** Sets up a client that is logged in; the script is what comes then. */
export async function logIn(
  script: Script,
  options: ClientStageOptions = {}
): Promise<ClientStage> {
  const stage = await setStage(async (session) => {
    await session.greet()
    await script(session)
  }, options)
  await stage.connect()
  await stage.client.login()
  return stage
}

/** Clears what the test set up; for `afterEach`. */
export async function clearStages(): Promise<void> {
  for (const { client, server } of stages) {
    client.close()
    await server.stop()
  }
  stages.clear()
}

/** Something to upload. */
export function sourceOf(bytes: Uint8Array): UploadSource {
  return {
    bytes: bytes.byteLength,
    read: async (offset, length) => bytes.subarray(offset, offset + length)
  }
}

/** One extended block. */
export function block(flags: number, offset: number, payload: string | Uint8Array = ''): Buffer {
  const bytes = Buffer.from(payload)
  return Buffer.concat([encodeModeEHeader({ flags, count: bytes.byteLength, offset }), bytes])
}

/** All extended blocks that one connection carried. */
export function parseBlocks(bytes: Buffer): (ModeEHeader & { readonly payload: Buffer })[] {
  const blocks = []
  for (let at = 0; at < bytes.byteLength; ) {
    const header = decodeModeEHeader(bytes, at)
    const start = at + MODE_E_HEADER_BYTES
    at = start + modeEPayloadBytes(header)
    blocks.push({ ...header, payload: bytes.subarray(start, at) })
  }
  return blocks
}

/** How a connection ended: `end`, or the code of its error. */
export async function closeOf(socket: Socket): Promise<string> {
  try {
    await buffer(socket)
    return 'end'
  } catch (error) {
    return (error as { code?: string }).code ?? 'error'
  }
}
