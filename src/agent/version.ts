import { readFileSync } from 'node:fs'

const manifest: unknown = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
)

/** The version of this program, from package.json. */
export const VERSION = (manifest as { version: string }).version
