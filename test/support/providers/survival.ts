/**
 * An image outlives its machines: what is shown in little by test/system/providers.system.test.ts and in full size by
 * `npm run soak:providers`. Steps follow on one another.
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { damage } from './damage.ts'
import { ImageReader } from './image-reader.ts'
import { ProviderStage } from './provider-stage.ts'
import { SampleImage } from './sample-image.ts'

export interface SurvivalOptions {
  readonly mib: number
  /** At least ten for all steps, or there are too few left in the end; seven without the last. */
  readonly providers: number
  readonly chunkBytes: number
  readonly seed: number
  /** Time between two readings of the whole image. @default 0 */
  readonly restMs?: number
  /** How long each wait may take. */
  readonly withinMs: number
}

/** What the steps share. */
export interface SurvivalScene {
  readonly stage: ProviderStage
  readonly image: SampleImage
  readonly restMs: number
  /** Reads the image all the time from the first step's end on. */
  reader: ImageReader | undefined
}

/** One after the other. */
export interface SurvivalStep {
  readonly name: string
  /** @throws {Error} if it is not as the name says. */
  readonly run: (scene: SurvivalScene) => Promise<void>
}

const REPLICAS = 2
/** The one that reads its disk again all the time. */
const SCRUBBED = 'provider-5'

/** Starts everything. */
export async function setSurvivalStage(options: SurvivalOptions): Promise<SurvivalScene> {
  const { mib, chunkBytes, seed, restMs = 0 } = options
  const stage = await ProviderStage.start({
    ...options,
    replicas: REPLICAS,
    argsOf: (name) => (name === SCRUBBED ? ['--set', 'scrub.every=1s'] : [])
  })
  const image = new SampleImage('/images/survivor.raw', mib, { chunkBytes, seed })
  return { stage, image, restMs, reader: undefined }
}

/** Ends everything. */
export async function clearSurvivalStage({ stage, reader }: SurvivalScene): Promise<void> {
  await reader?.stop().catch(() => {}) // whoever waited for a pass has heard of it
  await stage.stop()
}

/** In their order. */
export const SURVIVAL_STEPS: readonly SurvivalStep[] = [
  {
    name: 'a provider dies in the middle of an upload: it succeeds with every chunk on two others',
    run: async (scene) => {
      const { stage, image } = scene
      let isKilled = false
      const { bytes, reusedBytes } = await stage.push(image, async (sentBytes) => {
        if (isKilled || sentBytes < image.bytes / 2) return
        isKilled = true
        await stage.killProviders('provider-1')
      })
      assert.deepEqual({ bytes, reusedBytes }, { bytes: image.bytes, reusedBytes: 0 })
      await expectCopies(scene, REPLICAS)
      beginReading(scene)
    }
  },
  {
    name: 'another dies, then a third, each as soon as nothing is under-replicated: all stays readable',
    run: async (scene) => {
      await scene.stage.untilDead(['provider-1'])
      await scene.stage.untilWhole()
      await loseOne(scene, 'provider-2')
      await loseOne(scene, 'provider-3')
    }
  },
  {
    name: 'a drained provider ends without chunks and can be stopped',
    run: async (scene) => {
      const { stage } = scene
      await stage.run('providers', 'drain', stage.provider('provider-4').ready.peerId)
      await stage.until('provider-4 empty', stage.states.bind(stage), (states) => {
        return states.get('provider-4')?.chunkCount === 0
      })
      await stage.stopProvider('provider-4')
      await expectCopies(scene, REPLICAS)
      await reading(scene).pass()
    }
  },
  {
    name: 'a provider that comes back is welcome, and what is too much is trimmed',
    run: async ({ stage, image }) => {
      await stage.startProvider('provider-2')
      await stage.untilLive(['provider-2'])
      await stage.untilCopies(REPLICAS, image)
    }
  },
  {
    name: 'a byte that has changed on one disk is found by the scrubber, and its chunk copied anew',
    run: async (scene) => {
      const { stage, image } = scene
      await damageSome(scene, SCRUBBED)
      await stage.until('a lost chunk', stage.states.bind(stage), (states) => {
        return (states.get(SCRUBBED)?.lostCount ?? 0) > 0
      })
      await stage.untilCopies(REPLICAS, image)
      await reading(scene).pass()
    }
  },
  {
    name: 'with three copies two die at once: all stays readable, and has three again',
    run: async (scene) => {
      const { stage, image } = scene
      await reading(scene).stop()
      await stage.setReplicas(3)
      await stage.untilCopies(3, image)
      beginReading(scene)
      const pair = ['provider-6', 'provider-7']
      await stage.killProviders(...pair)
      await reading(scene).pass()
      await stage.untilDead(pair)
      await stage.untilWhole()
      await expectCopies(scene, 3)
      await reading(scene).pass()
      assert.ok((await reading(scene).stop()) > 1)
    }
  }
]

function beginReading(scene: SurvivalScene): void {
  const { stage, image, restMs } = scene
  scene.reader = new ImageReader(stage.client.ready.socket, [image], restMs)
}

async function loseOne(scene: SurvivalScene, name: string): Promise<void> {
  await scene.stage.killProviders(name)
  await reading(scene).pass()
  await scene.stage.untilDead([name])
  await scene.stage.untilWhole()
  await expectCopies(scene, REPLICAS)
}

/** Copies are counted on the providers' disks, whatever records say. */
async function expectCopies({ stage, image }: SurvivalScene, copies: number): Promise<void> {
  const { byCopies } = await stage.count(image)
  const short = Object.entries(byCopies).filter(([count]) => Number(count) < copies)
  assert.deepEqual(short, [], `fewer than ${copies} copies, by their number: ${String(short)}`)
}

/** Changes a byte of the first chunk that the provider has. */
async function damageSome({ stage, image }: SurvivalScene, name: string): Promise<void> {
  const { dataDir } = stage.provider(name)
  for (let index = 0; index < image.bytes / image.chunkBytes; index++) {
    if (await damage(join(dataDir, 'store'), image.chunk(index))) return
  }
  throw new Error(`${name} has no chunk of the image`)
}

function reading({ reader }: SurvivalScene): ImageReader {
  if (reader === undefined) throw new Error('nobody reads')
  return reader
}
