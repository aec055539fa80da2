import { parseHostPort } from '../../src/agent/host-port.ts'
import { GridFtpClient } from '../../src/gridftp/client.ts'
import { MIB } from '../../src/lib/bytes.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { runProgram } from '../support/agent-process.ts'

const STREAMS = 2
const BLOCK_BYTES = 4 * MIB

/** Uploads a file in extended block mode with two streams. */
export interface Uploader {
  readonly name: string
  put(file: string, server: string, path: string, signal: AbortSignal): Promise<void>
}

const globus: Uploader = {
  name: 'globus-url-copy',
  put: async (file, server, path, signal) => {
    const streams = ['-p', String(STREAMS), '-bs', String(BLOCK_BYTES), '-fast']
    const urls = [`file://${file}`, `ftp://${server}${path}`]
    const { code, stderr } = await runProgram('globus-url-copy', ['-cd', ...streams, ...urls], {
      signal
    })
    if (code !== 0) throw new Error(`globus-url-copy exited with ${code}: ${stderr}`)
  }
}

const builtin: Uploader = {
  name: 'the built-in GridFTP client',
  put: async (file, server, path, signal) => {
    const { host, port } = parseHostPort(server)
    const client = new GridFtpClient({ clock: systemClock })
    await client.connect({ host, port }, { signal })
    try {
      await client.login()
      await client.put(file, path, { mode: 'E', streams: STREAMS, blockBytes: BLOCK_BYTES, signal })
      await client.quit()
    } finally {
      client.close()
    }
  }
}

/** globus-url-copy where it is installed, else the built-in client. */
export async function findUploader(isBuiltinWanted: boolean): Promise<Uploader> {
  if (isBuiltinWanted) return builtin
  try {
    await runProgram('globus-url-copy', ['-version']) // exits with 1, but it is there
    return globus
  } catch {
    return builtin
  }
}
