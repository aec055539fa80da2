import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from '@jest/globals'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Folder of src/ → the folders that it may import from. */
const BELOW: Readonly<Record<string, readonly string[]>> = {
  lib: [],
  chunks: ['lib'],
  metadata: ['lib', 'chunks'],
  peer: ['lib', 'chunks', 'metadata'],
  gridftp: ['lib', 'chunks', 'metadata'],
  agent: ['lib', 'chunks', 'metadata', 'peer', 'gridftp']
}

const LIBP2P = /^(libp2p$|@libp2p\/|@chainsafe\/libp2p)/

interface Import {
  readonly file: string
  readonly target: string
  readonly isTypeOnly: boolean
}

function sourceFiles(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, file), 'utf8')
  const pattern = /^(?:import|export)\s+(type\s)?[^'"]*?from\s+'([^']+)'|import\('([^']+)'\)/gm
  return Array.from(text.matchAll(pattern), ([, type, from, dynamic]) => ({
    file,
    target: from ?? dynamic ?? '',
    isTypeOnly: type !== undefined
  }))
}

function folderOf(file: string): string {
  return file.split('/')[1] ?? ''
}

const files = sourceFiles('src')
const imports = files.flatMap(importsOf)

describe('src', () => {
  test('has no folders but those of the architecture', () => {
    expect(new Set(files.map(folderOf))).toEqual(new Set(Object.keys(BELOW)))
  })

  test('imports downwards only', () => {
    const upward = imports
      .filter(({ target }) => target.startsWith('.'))
      .map(({ file, target }) => ({
        file,
        from: folderOf(file),
        to: folderOf(relative(root, resolve(root, dirname(file), target)))
      }))
      .filter(({ from, to }) => to !== from && !BELOW[from]?.includes(to))
      .filter(({ to }) => to in BELOW)

    expect(upward).toEqual([])
  })

  test('imports libp2p at run time in src/peer only', () => {
    const strays = imports.filter(
      ({ file, target, isTypeOnly }) =>
        LIBP2P.test(target) && !isTypeOnly && folderOf(file) !== 'peer'
    )

    expect(strays).toEqual([])
  })

  test('loads neither libp2p nor zod nor pino for a client command', () => {
    const reached = new Set<string>()
    const outside = new Set<string>()
    const visit = (file: string): void => {
      if (reached.has(file)) return
      reached.add(file)
      for (const { target, isTypeOnly } of importsOf(file)) {
        if (isTypeOnly) continue
        if (!target.startsWith('.')) outside.add(target)
        else visit(relative(root, resolve(root, dirname(file), target)))
      }
    }
    const lazily = new Set(['./commands/agent.ts', './commands/config.ts'])
    for (const { target } of importsOf('src/agent/cli.ts')) {
      if (target.startsWith('.') && !lazily.has(target)) {
        visit(relative(root, resolve(root, 'src/agent', target)))
      }
    }

    expect(reached.size).toBeGreaterThan(10)
    expect([...outside].filter((name) => !name.startsWith('node:'))).toEqual([])
  })

  test('takes time and chance from components outside lib and agent', () => {
    const direct = files
      .filter((file) => !['lib', 'agent'].includes(folderOf(file)))
      .filter((file) => /\b(Math\.random|Date\.now|setTimeout|setInterval)\(/.test(read(file)))

    expect(direct).toEqual([])
  })

  test('has no catch-all files', () => {
    const names = files.filter((file) => /\/(utils?|helpers?|data|info)\.ts$/.test(file))

    expect(names).toEqual([])
  })
})

describe('docs/errors.md', () => {
  const codes = new Set(
    files.flatMap((file) =>
      Array.from(read(file).matchAll(/'(ERR_[A-Z_]+)'/g), ([, code]) => code ?? '')
    )
  )

  test('lists every code that a class has, and no other', () => {
    const listed = Array.from(read('docs/errors.md').matchAll(/^\| `(ERR_[A-Z_]+)` \|/gm))
    const names = listed.map(([, code]) => code ?? '')

    expect(names.toSorted()).toEqual([...codes].toSorted())
  })
})

function read(file: string): string {
  return readFileSync(join(root, file), 'utf8')
}
