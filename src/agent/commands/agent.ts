import type { Command, CommandContext } from '../cli.ts'

const STOP_WITHIN_MS = 10_000

/** `blobswarm agent`: runs an agent in this process. */
export const agentCommand: Command = {
  arguments: [0, 0],
  options: {
    config: { type: 'string' },
    roles: { type: 'string' },
    listen: { type: 'string' },
    gridftp: { type: 'string' },
    http: { type: 'string' },
    join: { type: 'string' },
    set: { type: 'string', multiple: true }
  },
  async run(context) {
    const { loadConfig } = await import('../config.ts')
    const config = loadConfig({
      file: text(context, 'config') ?? context.environment.BLOBSWARM_CONFIG,
      environment: context.environment,
      settings: (context.values.set ?? []) as string[],
      flags: {
        'agent.dataDir': text(context, 'data-dir'),
        'agent.roles': text(context, 'roles'),
        'network.listen': text(context, 'listen'),
        'gridftp.listen': text(context, 'gridftp'),
        'http.listen': text(context, 'http'),
        'control.socket': text(context, 'socket')
      }
    })
    // libp2p and the rest of the agent are loaded here only: client commands and mistakes need not wait for them.
    const { startAgent } = await import('../main.ts')
    await startAgent(config, {
      joinToken: text(context, 'join'),
      stopWithinMs: STOP_WITHIN_MS,
      print: context.print
    })
  }
}

function text(context: CommandContext, name: string): string | undefined {
  const value = context.values[name]
  return typeof value === 'string' ? value : undefined
}
