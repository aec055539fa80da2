import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from '@jest/globals'

const root = fileURLToPath(new URL('..', import.meta.url))
const page = readFileSync(join(root, 'docs/operations.md'), 'utf8')

const sources = readdirSync(join(root, 'src'), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
  .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'utf8'))
  .join('\n')

/** What the group of a pattern finds, each finding once, sorted. */
function found(text: string, pattern: RegExp): string[] {
  return [...new Set(Array.from(text.matchAll(pattern), ([, name = '']) => name))].toSorted()
}

test('docs/operations.md lists every metric, and no other', () => {
  const registered = found(sources, /(?:counter|gauge|histogram)\(\s*'(blobswarm_\w+)'/g)
  const figures = readFileSync(join(root, 'src/metadata/repair-deeds.ts'), 'utf8')
  const gauges = found(figures, /\bgauge\(\s*'(\w+)'/g).map((name) => `blobswarm_repair_${name}`)

  const listed = found(page, /^\| `(blobswarm_\w+)` \|/gm)

  expect(listed).toEqual([...registered, ...gauges].toSorted())
})

test('docs/operations.md tells every reason for which somebody is refused', () => {
  const types = readFileSync(join(root, 'src/peer/refusals.ts'), 'utf8')
  const errors = readFileSync(join(root, 'src/peer/errors.ts'), 'utf8')
  const reasons = found(`${types}\n${errors}`, /^ {2}\| '(\w+)'$/gm)

  const untold = reasons.filter((reason) => !new RegExp(`["\`]${reason}["\`]`).test(page))

  expect(untold).toEqual([])
})
