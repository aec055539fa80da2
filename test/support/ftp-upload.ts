import type { Socket } from 'node:net'
import { MODE_E_EOD, MODE_E_EOF } from '../../src/gridftp/mode-e-header.ts'
import { block, openData, type RawFtp, readAll } from './raw-ftp.ts'

/** Stores bytes over one data connection. @returns the last reply. */
export async function storeBytes(
  raw: RawFtp,
  path: string,
  bytes: Uint8Array,
  mode: 'S' | 'E' = 'S'
): Promise<string> {
  const data = await beginStore(raw, path, mode)
  if (mode === 'S') data.end(bytes)
  else endBlocks(data, bytes)
  return raw.finalReply()
}

/** Begins an upload. @returns its data connection, once the server has said that it is ready. */
export async function beginStore(raw: RawFtp, path: string, mode: 'S' | 'E'): Promise<Socket> {
  await raw.command(`MODE ${mode}`)
  const data = await openData(await raw.passive())
  const ready = await raw.command(`STOR ${path}`)
  if (!ready.startsWith('150')) throw new Error(ready)
  return data
}

/** Sends bytes as one extended block, and that this is the end. */
export function endBlocks(data: Socket, bytes: Uint8Array, offset = 0): void {
  data.write(block(0, offset, bytes))
  data.write(block(MODE_E_EOD | MODE_E_EOF, 1))
}

/** Reads a file in stream mode. */
export async function retrieveBytes(raw: RawFtp, path: string): Promise<Buffer> {
  await raw.command('MODE S')
  const data = await openData(await raw.passive())
  const content = readAll(data)
  const ready = await raw.command(`RETR ${path}`)
  if (!ready.startsWith('150')) throw new Error(ready)
  const bytes = await content
  const reply = await raw.finalReply()
  if (!reply.startsWith('226')) throw new Error(reply)
  return bytes
}

/** Asks how far the upload is until the storage has taken as many bytes. */
export async function untilStored(raw: RawFtp, bytes: number): Promise<void> {
  for (let stored = 0; stored < bytes; ) {
    raw.send('STAT\r\n')
    let reply = await raw.reply()
    while (reply.startsWith('112')) reply = await raw.reply() // a marker came between
    const found = /^213 .*: (\d+) bytes so far/.exec(reply)
    if (found === null) throw new Error(reply)
    stored = Number(found[1])
  }
}
