import { createHash, randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { mkdir, open, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MIB } from '../../src/lib/bytes.ts'
import { Testbed } from '../testbed/testbed.ts'
import { WireReader } from '../testbed/wire-reader.ts'
import { rateOf, type Setting } from './setting.ts'

const PARENT = '/dev/shm'
const NAME = /^blobswarm-deployment-(?<pid>\d+)$/
const ALLOWED = '/proc/sys/net/ipv4/tcp_allowed_congestion_control'

/** The hosts of one run with a fresh image; all of it in memory. */
export class Stage {
  readonly setting: Setting
  readonly testbed: Testbed
  readonly wire: WireReader
  readonly folder: string
  readonly image: Image

  private constructor(setting: Setting, place: Place) {
    this.setting = setting
    this.testbed = place.testbed
    this.wire = place.wire
    this.folder = place.folder
    this.image = place.image
  }

  static async up(setting: Setting): Promise<Stage> {
    await removeLeftFolders()
    await allowCongestion(setting.congestion)
    const folder = join(PARENT, `blobswarm-deployment-${process.pid}`)
    const testbed = await Testbed.up({
      hosts: setting.hosts + 1,
      mtu: setting.mtu,
      congestion: setting.congestion,
      label: 'deployment',
      onEnding: () => rmSync(folder, { recursive: true, force: true })
    })
    try {
      await rm(folder, { recursive: true, force: true })
      await mkdir(folder)
      const wire = await WireReader.open(testbed)
      const image = await makeRandomImage(join(folder, 'image.raw'), setting.mib)
      return new Stage(setting, { testbed, wire, folder, image })
    } catch (error) {
      await testbed.down()
      await rm(folder, { recursive: true, force: true })
      throw error
    }
  }

  /** All but the source. */
  get hosts(): number[] {
    return Array.from({ length: this.setting.hosts }, (_, index) => index + 1)
  }

  /** Until now links were as fast as the machine, so that preparing does not take long. */
  async limitLinks(): Promise<void> {
    const { setting } = this
    await this.testbed.setLimits((host) => {
      const rate = rateOf(setting, host)
      return { upMbit: rate, downMbit: rate }
    })
  }

  async down(): Promise<void> {
    await this.wire.close()
    await this.testbed.down()
    await rm(this.folder, { recursive: true, force: true })
  }
}

interface Place {
  readonly testbed: Testbed
  readonly wire: WireReader
  readonly folder: string
  readonly image: Image
}

/** Random bytes that were never seen before. */
export interface Image {
  readonly path: string
  readonly bytes: number
  readonly sha256: string
}

export async function makeRandomImage(path: string, mib: number): Promise<Image> {
  const hash = createHash('sha256')
  const file = await open(path, 'w')
  try {
    for (let index = 0; index < mib; index++) {
      const bytes = randomBytes(MIB)
      hash.update(bytes)
      await file.write(bytes)
    }
  } finally {
    await file.close()
  }
  return { path, bytes: mib * MIB, sha256: hash.digest('hex') }
}

/** Hosts may have only what the machine allows. */
async function allowCongestion(name: string): Promise<void> {
  const allowed = (await readFile(ALLOWED, 'utf8')).trim().split(/\s+/)
  if (!allowed.includes(name)) await writeFile(ALLOWED, [...allowed, name].join(' '))
}

/** Of runs that were killed. */
async function removeLeftFolders(): Promise<void> {
  const running = new Set(await readdir('/proc'))
  for (const name of await readdir(PARENT)) {
    const pid = NAME.exec(name)?.groups?.pid
    if (pid === undefined || running.has(pid)) continue
    await rm(join(PARENT, name), { recursive: true, force: true })
  }
}
