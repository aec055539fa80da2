import { systemClock } from '../../lib/clock.ts'
import { KeptUploads } from '../../metadata/kept-uploads.ts'
import { UploadJournal } from '../../metadata/upload-journal.ts'
import type { Foundation } from './foundation.ts'
import type { Managers } from './managers.ts'

/** Broken uploads of this agent's front; undefined if it has none, or none are to be kept. */
export function composeKeptUploads(
  { config, data, logger, metrics }: Foundation,
  { writer }: Pick<Managers, 'writer'>
): KeptUploads | undefined {
  const { keepPartial: keepMs } = config.gridftp
  if (!config.agent.roles.includes('gridftp') || keepMs === 0) return undefined
  const journal = new UploadJournal(data.path)
  const components = { journal, writer, clock: systemClock, logger, metrics }
  return new KeptUploads(components, { keepMs, leaseMs: config.storage.lease })
}
