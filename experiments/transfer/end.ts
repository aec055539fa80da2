import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { Session } from 'node:inspector/promises'
import type { Call, End, EndSettings, Usage } from './ends.ts'

// One end of a transfer, as a process of its own: run.ts and crowd.ts fork it.

const settings = JSON.parse(process.argv[2] ?? '') as EndSettings
const end = await open()
const session = new Session()
let isProfiled = false
process.send?.({ address: end.address, ids: end.ids, ownPort: end.ownPort })
for (;;) {
  const [call] = (await once(process, 'message')) as [Call]
  process.send?.(await answer(call))
  if (call.call === 'stop') break
}
process.disconnect()
process.exit()

async function open(): Promise<End> {
  if (settings.kind === 'raw') return (await import('./raw-ends.ts')).rawEnd(settings)
  if (settings.kind === 'bare') return (await import('./raw-ends.ts')).bareEnd(settings)
  return (await import('./swarm-end.ts')).swarmEnd(settings)
}

async function answer(call: Call): Promise<unknown> {
  if (call.call === 'usage') return usage()
  if (call.call === 'fetch') return { ms: await end.fetch(call.addresses, call.ids) }
  if (isProfiled && settings.profile !== undefined) {
    const { profile } = await session.post('Profiler.stop')
    await writeFile(settings.profile, JSON.stringify(profile))
  }
  await end.stop()
  return {}
}

/** The first call is the begin of what is measured. */
async function usage(): Promise<Usage> {
  if (settings.profile !== undefined && !isProfiled) {
    isProfiled = true
    session.connect()
    await session.post('Profiler.enable')
    await session.post('Profiler.start')
  }
  const { user, system } = process.cpuUsage()
  const peakMib = process.resourceUsage().maxRSS / 1024
  return { user: user / 1e6, system: system / 1e6, peakMib }
}
