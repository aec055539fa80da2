import type { AgentService } from '../agent.ts'

/** Makes a service out of anything that can be started and stopped. */
export function serviceOf(
  name: string,
  part: { start?(): unknown; stop?(): unknown }
): AgentService {
  return {
    name,
    start: async () => void (await part.start?.()),
    stop: async () => void (await part.stop?.())
  }
}
