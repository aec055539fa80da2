import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from '@jest/globals'
import { GridFtpStage } from './support/gridftp-stage.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (file: string): string => readFileSync(join(root, file), 'utf8')
const page = read('docs/gridftp.md')

/** Inner lines of a reply with several lines. */
function linesOf(reply: string): string[] {
  return reply.split('\n').filter((line) => line.startsWith(' '))
}

/** Text from a heading to the next one. */
function section(heading: string): string {
  const [, text = ''] = page.split(`\n## ${heading}\n`)
  return text.split('\n## ')[0] ?? ''
}

async function ask(command: string): Promise<string[]> {
  await using stage = await GridFtpStage.open()
  const raw = await stage.login()
  return linesOf(await raw.command(command))
}

describe('docs/gridftp.md', () => {
  test('lists every command of the server, and no other', async () => {
    const verbs = (await ask('HELP')).flatMap((line) => line.trim().split(/ +/))

    const rows = Array.from(section('Commands').matchAll(/^\| ((?:`[A-Z]+` ?)+)\|/gm), ([, cell]) =>
      Array.from(cell?.matchAll(/`([A-Z]+)`/g) ?? [], ([, verb]) => verb ?? '')
    )

    expect(rows.flat().toSorted()).toEqual(verbs.toSorted())
  })

  test('shows what FEAT answers', async () => {
    const features = await ask('FEAT')

    const [, shown = ''] = section('Commands').split('```text\n')

    expect(linesOf(shown.split('```')[0] ?? '')).toEqual(features)
  })

  test('names every SITE command, and no other', async () => {
    const commands = (await ask('SITE HELP')).map((line) => line.trim().split(' ')[0])

    const [, row = ''] = /^\| `SITE` \| (.+) \|$/m.exec(section('Commands')) ?? []

    const named = Array.from(row.matchAll(/`([A-Z]+)`/g), ([, name]) => name)
    expect(new Set(named)).toEqual(new Set(commands))
  })

  test('names every setting of the server', () => {
    const [, own = ''] = /^#gridftp:\n((?:#.*\n)+)/m.exec(read('config/agent.yaml')) ?? []
    const keys = Array.from(own.matchAll(/^# {2}(\w+):/gm), ([, key]) => key ?? '')

    expect(keys.length).toBeGreaterThan(10)
    expect(keys.filter((key) => !new RegExp(`\`${key}[:\`]`).test(page))).toEqual([])
  })

  test('links only to files that exist', () => {
    const links = Array.from(page.matchAll(/\]\((?!#)([^)#]+)/g), ([, link]) => link ?? '')

    expect(() => links.map((link) => read(join('docs', link)))).not.toThrow()
  })
})
