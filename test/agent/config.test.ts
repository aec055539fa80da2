import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from '@jest/globals'
import { loadConfig } from '../../src/agent/config.ts'

const folder = mkdtempSync(join(tmpdir(), 'blobswarm-config-'))
afterEach(() => rmSync(join(folder, 'agent.yaml'), { force: true }))

function written(text: string): string {
  const file = join(folder, 'agent.yaml')
  writeFileSync(file, text)
  return file
}

test('config/agent.yaml holds every key with its default, commented', () => {
  const text = readFileSync(new URL('../../config/agent.yaml', import.meta.url), 'utf8')
  const uncommented = text.replaceAll(/^#(?! )/gm, '').replaceAll(/^# {2}/gm, '  ')

  const fromFile = loadConfig({ file: written(uncommented) })

  expect(fromFile).toEqual(loadConfig())
  const keys = Object.entries(loadConfig()).flatMap(([section, of]) =>
    Object.keys(of).map((key) => `${section}.${key}`)
  )
  for (const path of keys) expect(text).toMatch(new RegExp(`^#  ${path.split('.')[1]}: `, 'm'))
})

test('file, environment, --set and flags win in this order', () => {
  const file = written('storage:\n  replicas: 2\n  writeQuorum: 2\n  quotaBytes: 5\n')

  const { storage, agent } = loadConfig({
    file,
    environment: {
      BLOBSWARM_STORAGE_WRITE_QUORUM: '1',
      BLOBSWARM_STORAGE_QUOTABYTES: '6',
      PATH: '/'
    },
    settings: ['storage.quotaBytes=7', 'agent.dataDir=/a'],
    flags: { 'agent.dataDir': '/b', 'agent.roles': undefined }
  })

  expect(storage).toMatchObject({ replicas: 2, writeQuorum: 1, quotaBytes: 7 })
  expect(agent.dataDir).toBe('/b')
})

test.each([
  ['storage.replicas=x', /storage\.replicas \(x\)/],
  ['storage.replica=1', /storage.*replica/],
  ['nothing.replicas=1', /nothing/],
  ['storage.chunkBytes=70000', /storage\.chunkBytes \(70000\).*power of two/],
  ['repair.deadAfter=3x', /repair\.deadAfter \(3x\)/],
  ['agent.roles=deploy,boss', /agent\.roles/],
  ['gridftp.listen=nowhere', /gridftp\.listen \(nowhere\).*HOST:PORT/],
  ['storage', /key\.path=value/],
  ['__proto__.x=1', /unknown section/]
])('refuses %s and names the key', (setting, message) => {
  expect(() => loadConfig({ settings: [setting] })).toThrow(message)
})

test('refuses a variable that names no key', () => {
  const environment = { BLOBSWARM_STORAGE_COPIES: '1' }

  expect(() => loadConfig({ environment })).toThrow(/BLOBSWARM_STORAGE_COPIES/)
})

test('refuses a file that is no YAML, naming it', () => {
  expect(() => loadConfig({ file: written('storage: [') })).toThrow(/agent\.yaml/)
})
