import { appendFile, mkdir, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { RunResult } from './deploy.ts'
import { nameOf, type Setting } from './setting.ts'

/** Runs kept as JSON lines. */
export class Results {
  readonly path: string

  constructor(path: string) {
    this.path = path
  }

  async add(result: RunResult): Promise<void> {
    await mkdir(dirname(this.path), { recursive: true })
    await appendFile(this.path, `${JSON.stringify(result)}\n`)
  }

  /** In the order of their ends; none if there is no such file. */
  async all(): Promise<RunResult[]> {
    const text = await readFile(this.path, 'utf8').catch(() => '')
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as RunResult)
  }
}

/** What tells runs apart that are made once. */
export function keyOf(run: Setting & { readonly method: string; readonly run: number }): string {
  return `${nameOf(run)} ${run.mib} ${run.method} ${run.run}`
}
