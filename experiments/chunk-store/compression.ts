import { spawnSync } from 'node:child_process'
import { open } from 'node:fs/promises'
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { KIB, MIB } from '../../src/lib/bytes.ts'
import { SeededBytes } from '../support/image.ts'

const CHUNK_BYTES = 256 * KIB

export interface CompressionResult {
  readonly source: string
  readonly level: number
  readonly mib: number
  /** Bytes before by bytes after. */
  readonly ratio: number
  /** Share of the chunks that become at least an eighth smaller. */
  readonly worthShare: number
  /** Processor speed on one core, of plain bytes. */
  readonly compressMibS: number
  readonly decompressMibS: number
}

/** Compresses chunks of 256 KiB, each for itself. */
export function measureCompression(
  source: string,
  chunks: readonly Uint8Array[],
  level: number
): CompressionResult {
  const mib = chunks.reduce((sum, { byteLength }) => sum + byteLength, 0) / MIB
  // Processor time, so that others on the machine do not count.
  const before = processorMs()
  const compressed = chunks.map((chunk) =>
    zstdCompressSync(chunk, { params: { [constants.ZSTD_c_compressionLevel]: level } })
  )
  const between = processorMs()
  for (const chunk of compressed) zstdDecompressSync(chunk)
  const end = processorMs()
  const after = compressed.reduce((sum, { byteLength }) => sum + byteLength, 0) / MIB
  const worth = compressed.filter(
    ({ byteLength }, at) => byteLength <= ((chunks[at]?.byteLength ?? 0) * 7) / 8
  )
  return {
    source,
    level,
    mib,
    ratio: mib / after,
    worthShare: worth.length / chunks.length,
    compressMibS: (mib * 1000) / (between - before),
    decompressMibS: (mib * 1000) / (end - between)
  }
}

function processorMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

export function randomChunks(mib: number, seed: number): Uint8Array[] {
  const random = new SeededBytes(seed)
  return Array.from({ length: (mib * MIB) / CHUNK_BYTES }, () => random.next(CHUNK_BYTES))
}

/** Chunks of a raw archive of this machine's programs and libraries, spread over all of it. */
export async function systemChunks(path: string, mib: number): Promise<Uint8Array[]> {
  const tar = 'tar -cf - -C / usr/bin usr/lib 2>/dev/null | head -c 512M'
  spawnSync('sh', ['-c', `${tar} > ${path}`])
  const file = await open(path)
  try {
    const { size } = await file.stat()
    const there = Math.floor(size / CHUNK_BYTES)
    const count = Math.min(there, (mib * MIB) / CHUNK_BYTES)
    const chunks: Uint8Array[] = []
    for (let number = 0; number < count; number++) {
      const bytes = new Uint8Array(CHUNK_BYTES)
      await file.read(bytes, 0, CHUNK_BYTES, Math.floor((number * there) / count) * CHUNK_BYTES)
      if (bytes.some((byte) => byte !== 0)) chunks.push(bytes)
    }
    return chunks
  } finally {
    await file.close()
  }
}
