import { stringify } from 'yaml'
import type { Command } from '../cli.ts'
import { loadConfig } from '../config.ts'

/** `blobswarm config`: prints the effective configuration. */
export const configCommand: Command = {
  arguments: [0, 0],
  options: { config: { type: 'string' }, set: { type: 'string', multiple: true } },
  async run({ values, environment, isJson, print }) {
    const dataDir = values['data-dir']
    const config = loadConfig({
      file: (values.config as string | undefined) ?? environment.BLOBSWARM_CONFIG,
      environment,
      settings: (values.set ?? []) as string[],
      flags: { 'agent.dataDir': dataDir }
    })
    print(isJson ? JSON.stringify(config) : stringify(config).trimEnd())
  }
}
