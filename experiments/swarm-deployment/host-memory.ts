import { open, readFile, rm, writeFile } from 'node:fs/promises'
import { freemem } from 'node:os'
import { MIB } from '../../src/lib/bytes.ts'
import type { Setting } from './setting.ts'

/**
 * Free pages of so many times a base page, as a power of two, and more are given back to the host of a virtual
 * machine (Linux, free page reporting); above the largest order there is none.
 */
const REPORTED_ORDER = '/sys/module/page_reporting/parameters/page_reporting_order'
const ABOVE_THE_LARGEST = ['11', '10']

const TOUCHED = '/dev/shm/blobswarm-touched-memory'
const PROCESS_BYTES = 256 * MIB

/** Puts back what was set. */
export type LetGo = () => Promise<void>

/**
 * Takes from the machine's host as much memory as deployments need, and keeps it as far as the kernel lets one:
 * the first touch of a page that the host has to find costs more than all else that is done for its bytes,
 * and would be charged to whichever method comes first.
 */
export async function keepHostMemory(settings: readonly Setting[]): Promise<LetGo> {
  const order = await readFile(REPORTED_ORDER, 'utf8').catch(() => undefined)
  const letGo = async (): Promise<void> => {
    if (order !== undefined) await writeFile(REPORTED_ORDER, order).catch(() => {})
  }
  if (order !== undefined) await setFirstOf(ABOVE_THE_LARGEST)
  const bytes = Math.max(0, ...settings.map(neededBytes))
  await touch(Math.min(bytes, 0.6 * freemem()))
  return letGo
}

/** Every host keeps chunks and a file of both images. */
function neededBytes({ hosts, mib, warmUpMib }: Setting): number {
  return (hosts + 1) * (2 * (mib + warmUpMib) * MIB + PROCESS_BYTES)
}

async function setFirstOf(values: readonly string[]): Promise<void> {
  for (const value of values) {
    try {
      await writeFile(REPORTED_ORDER, value)
      return
    } catch {
      // Not root, or more than this kernel knows: the next, or all stays as it is.
    }
  }
}

async function touch(bytes: number): Promise<void> {
  const piece = new Uint8Array(4 * MIB)
  const file = await open(TOUCHED, 'w', 0o600)
  try {
    for (let at = 0; at < bytes; at += piece.byteLength) await file.write(piece)
  } finally {
    await file.close()
    await rm(TOUCHED, { force: true })
  }
}
