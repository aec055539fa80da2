import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from '@jest/globals'
import { HELLO } from '../src/peer/protocols/hello.ts'
import { MOVER_PROTOCOL } from '../src/peer/protocols/mover.ts'
import { PROVIDERS_PROTOCOL } from '../src/peer/protocols/providers.ts'
import { STORE_PROTOCOL } from '../src/peer/protocols/store.ts'
import { SWARM_PROTOCOL } from '../src/peer/protocols/swarm.ts'
import { TREE_PROTOCOL } from '../src/peer/protocols/tree.ts'
import { VERSION_PROTOCOL } from '../src/peer/protocols/version.ts'
import {
  formatPermission,
  MOVER_PERMISSIONS,
  PROVIDERS_PERMISSIONS,
  STORE_PERMISSIONS,
  TREE_PERMISSIONS,
  VERSION_PERMISSIONS
} from '../src/peer/rights.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (file: string): string => readFileSync(join(root, file), 'utf8')

const files = readdirSync(join(root, 'src'), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
  .map((entry) => join(entry.parentPath, entry.name).slice(root.length))
const sources = new Map(files.map((file) => [file, read(file)]))
const page = read('docs/protocols.md')

/** What the groups of a pattern find, each finding once, sorted. */
function found(text: string, pattern: RegExp): string[] {
  const findings = Array.from(text.matchAll(pattern), ([, ...groups]) => groups.join(' ').trim())
  return [...new Set(findings)].toSorted()
}

function foundInSources(pattern: RegExp, folder = 'src/'): string[] {
  const texts = [...sources].flatMap(([file, text]) => (file.startsWith(folder) ? [text] : []))
  return found(texts.join('\n'), pattern)
}

describe('docs/protocols.md', () => {
  test('names every protocol of the agents, and no other', () => {
    const id = /(\/blobswarm\/[a-z]+\/\d+)(?![.\d])/g

    expect(found(page, id)).toEqual(foundInSources(id))
  })

  test('tells how long messages may be and how many streams there may be', () => {
    const specs = [HELLO, VERSION_PROTOCOL, TREE_PROTOCOL, PROVIDERS_PROTOCOL]
    const all = [...specs, STORE_PROTOCOL, SWARM_PROTOCOL, MOVER_PROTOCOL]
    const bytes = all.map(({ maxMessageBytes }) => maxMessageBytes.toLocaleString('en-US'))
    const streams = all.map(({ maxStreams }) => String(maxStreams))

    expect(page).toContain(`| bytes of a message | ${bytes.join(' | ')} |`)
    expect(page).toContain(`| streams a connection, each way | ${streams.join(' | ')} |`)
  })

  test('lists every RPC method, and no other', () => {
    const defined = foundInSources(/\b(?:defineMethod|method)\(\s*'(\w+)'/g, 'src/peer/protocols/')

    expect(defined.length).toBeGreaterThan(20)
    expect(found(page, /^(\w+) +(?:read|write|admin) {2}/gm)).toEqual(defined)
  })

  test('tells the right that each RPC method needs', () => {
    const tables = [VERSION_PERMISSIONS, TREE_PERMISSIONS, PROVIDERS_PERMISSIONS, MOVER_PERMISSIONS]
    const needed = tables.flatMap((table) =>
      Object.entries(table).map(([method, [first = []]]) => `${method} ${first[0]}`)
    )

    expect(found(page, /^(\w+) +(read|write|admin) {2}/gm)).toEqual([...new Set(needed)].toSorted())
  })

  test('tells what else than the right in its column a certificate must give, and what will do instead', () => {
    const tables = {
      version: VERSION_PERMISSIONS,
      tree: TREE_PERMISSIONS,
      providers: PROVIDERS_PERMISSIONS,
      store: STORE_PERMISSIONS,
      mover: MOVER_PERMISSIONS
    }
    const special = Object.entries(tables).flatMap(([protocol, table]) =>
      Object.entries(table)
        .filter(([, permission]) => formatPermission(permission).includes('role'))
        .map(([name, permission]) => `${protocol} ${name} ${formatPermission(permission)}`)
    )
    const rows = Array.from(page.matchAll(/^\| `(\w+)` ((?:`\w+` )+)\| (the r[^|]+) \|$/gm))

    const told = rows.flatMap(([, protocol, names = '', permission]) =>
      found(names, /`(\w+)`/g).map((name) => `${protocol} ${name} ${permission}`)
    )
    expect(told.toSorted()).toEqual(special.toSorted())
  })

  test('lists every message of the swarm under its number, and no other', () => {
    const [, names = ''] =
      /const MESSAGE_TYPES = \[([^\]]+)\]/.exec(read('src/peer/protocols/swarm-codec.ts')) ?? []
    const numbered = found(names, /'(\w+)'/g).map(
      (name) => `${names.split(',').findIndex((one) => one.includes(`'${name}'`)) + 1} ${name}`
    )

    expect(numbered.length).toBeGreaterThan(10)
    expect(found(page, /^ ?(\d+) {2}([a-z]+) /gm)).toEqual(numbered.toSorted())
  })

  test('lists every call of the control API, and no other', () => {
    const calls = foundInSources(/'((?:GET|POST|PUT|DELETE) \w+)'/g, 'src/agent/')

    expect(calls.length).toBeGreaterThan(10)
    expect(found(page, /^((?:GET|POST|PUT|DELETE) \w+)\b/gm)).toEqual(calls)
  })

  test('lists every command of the GridFTP server, and no other', () => {
    const verbs = found(read('src/gridftp/commands/table.ts'), /\brow\('([A-Z]+)'/g)
    const rows = found(page, /^\| ((?:`[A-Z]+` )+)\|/gm).join(' ')

    expect(found(rows, /`([A-Z]+)`/g)).toEqual(verbs)
  })

  test('names every feature that FEAT shows', () => {
    const features = found(read('src/gridftp/commands/table.ts'), /features: \['([^']+)'\]/g)

    expect(features.filter((feature) => !page.includes(`\`${feature}\``))).toEqual([])
  })

  test('lists every event of the swarm, and no other', () => {
    const events = found(read('src/peer/swarm/events.ts'), /readonly event: '([a-z-]+)'/g)

    expect(found(page, /([a-z]+-[a-z]+) {2,}image\b/g)).toEqual(events)
  })

  test('lists every event of pulls, and no other', () => {
    const events = found(read('src/agent/pull-report.ts'), /readonly event: '([a-z-]+)'/g)

    expect(found(page, /([a-z]+-[a-z]+) {2,}(?:kind|ref)\b/g)).toEqual(events)
  })

  test('names every reason to ask a neighbour and to wait', () => {
    const asks = found(read('src/peer/swarm/ask-reason.ts'), /^ {2}'(\w+)',?$/gm)
    const [, table = ''] =
      /const WAITED_FOR[^{]+\{([^}]+)\}/.exec(read('src/peer/swarm/errors.ts')) ?? []
    const waits = found(table, /^ {2}'?([a-z -]+?)'?: /gm)

    expect([asks.length, waits.length]).toEqual([10, 8])
    expect([...asks, ...waits].filter((reason) => !page.includes(`"${reason}"`))).toEqual([])
  })

  test('names the file that implements it in every heading of a format', () => {
    const headings = found(page, /^### (.+)$/gm)

    expect(headings.filter((heading) => !heading.includes('`src/'))).toEqual([])
  })

  test('names only files that exist', () => {
    const named = found(page, /`((?:src|test)\/[\w/.-]+\.ts|[\w-]+\.ts)`/g)
    const known = [...files, 'test/docs-protocols.test.ts']
    const exists = (name: string): boolean =>
      known.some((file) => file === name || file.endsWith(`/${name}`))

    expect(named.filter((name) => !exists(name))).toEqual([])
  })
})
