import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from '@jest/globals'
import { loadConfig } from '../../src/agent/config.ts'

const folder = mkdtempSync(join(tmpdir(), 'blobswarm-config-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

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
  ['storage.replica=1', /storage\.replica: no such key/],
  ['nothing.replicas=1', /nothing: no such key/],
  ['storage.chunkBytes=70000', /storage\.chunkBytes \(70000\).*power of two/],
  ['repair.deadAfter=3x', /repair\.deadAfter \(3x\)/],
  ['collection.every=1ms', /collection\.every \(1ms\): is neither 0s nor between 10ms/],
  ['agent.roles=deploy,boss', /agent\.roles/],
  ['gridftp.listen=nowhere', /gridftp\.listen \(nowhere\).*HOST:PORT/],
  ['storage.replicas=0', /storage\.replicas \(0\): is below 1/],
  ['storage.replicas=17', /storage\.replicas \(17\): is above 16/],
  ['storage.quotaBytes=', /storage\.quotaBytes \(\): is no whole number/],
  ['storage.quotaBytes=1e9', /storage\.quotaBytes \(1e9\): is no whole number/],
  ['storage.quotaBytes=-1', /storage\.quotaBytes \(-1\)/],
  ['storage.uploadBudgetBytes=1', /storage\.uploadBudgetBytes \(1\): is below 33554432/],
  ['storage.chunkBytes=32768', /storage\.chunkBytes \(32768\).*from 65536/],
  ['providers.heartbeat=0', /providers\.heartbeat \(0\): is not between 10ms/],
  ['repair.deadAfter=1000h', /repair\.deadAfter \(1000h\): is not between/],
  ['gridftp.passivePorts=5-4', /gridftp\.passivePorts \(5-4\)/],
  ['gridftp.passivePorts=1024-65536', /gridftp\.passivePorts/],
  ['gridftp.passivePorts=80-90', /gridftp\.passivePorts .*1024 <= LOW/],
  ['gridftp.advertisedAddress=ftp.example.org', /gridftp\.advertisedAddress .*IPv4 address/],
  ['gridftp.advertisedAddress=::1', /gridftp\.advertisedAddress .*IPv4 address/],
  ['gridftp.dataAddress=eth1', /gridftp\.dataAddress .*IP address/],
  ['http.listen=127.0.0.1:65536', /http\.listen \(127\.0\.0\.1:65536\): is not HOST:PORT/],
  ['storage.constructor=1', /storage\.constructor: no such key/],
  ['storage.replicas.x=1', /keys have the form section\.key/],
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

test('takes a section whose keys are all commented', () => {
  expect(loadConfig({ file: written('storage:\n#  replicas: 2\n') })).toEqual(loadConfig())
})

test.each([
  ['250ms', 250],
  ['1.5s', 1500],
  ['5m', 300_000],
  ['1h', 3_600_000],
  ['500', 500]
])('reads %s as %d milliseconds', (text, milliseconds) => {
  const { repair } = loadConfig({ settings: [`repair.deadAfter=${text}`] })

  expect(repair.deadAfter).toBe(milliseconds)
})

test('reads a range of ports, and numbers from YAML as from text', () => {
  const file = written('gridftp:\n  passivePorts: 5000-5009\nstorage:\n  chunkBytes: 131072\n')

  const { gridftp, storage } = loadConfig({ file, settings: ['storage.quotaBytes=7'] })

  expect(gridftp.passivePorts).toEqual([5000, 5009])
  expect(storage).toMatchObject({ chunkBytes: 131_072, quotaBytes: 7 })
})

test.each([
  ['- a', /wanted sections of keys/],
  ['5', /wanted sections of keys/],
  ['storage: 5', /configuration storage \(5\)/]
])('refuses a file that reads "%s"', (text, message) => {
  expect(() => loadConfig({ file: written(text) })).toThrow(message)
})

test('collection can be left to those who ask for it', () => {
  expect(loadConfig({ settings: ['collection.every=0s'] }).collection.every).toBe(0)
})
