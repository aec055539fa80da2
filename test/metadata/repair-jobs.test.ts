import { expect, test } from '@jest/globals'
import { CopyJobs } from '../../src/metadata/repair-jobs.ts'

const job = (target: string, source: string, copies = 1) => ({
  target,
  sources: [source],
  chunks: [`${source}→${target}`],
  copies
})

test('last copies go first, whoever gives them', () => {
  const jobs = new CopyJobs<string>()
  for (const one of [job('x', 'a', 2), job('y', 'b', 1), job('z', 'b', 1)]) jobs.add(one)

  const begun = [jobs.begin(), jobs.begin(), jobs.begin()]

  expect(begun.map((one) => one?.chunks[0])).toEqual(['b→y', 'b→z', 'a→x'])
})

test('equally urgent ones are taken from all sources in turn', () => {
  const jobs = new CopyJobs<string>()
  for (const source of ['a', 'b', 'c']) for (const to of ['x', 'y']) jobs.add(job(to, source))

  const begun = Array.from({ length: 6 }, () => jobs.begin()?.sources[0])

  expect(begun.slice(0, 3)).toEqual(['a', 'b', 'c'])
  expect(begun.slice(3)).toEqual(['a', 'b', 'c'])
})

test('a target has three at a time, and the next when one has ended', () => {
  const jobs = new CopyJobs<string>()
  for (const source of 'abcde') jobs.add(job('x', source))
  const first = jobs.begin()
  jobs.begin()
  jobs.begin()

  const whileBusy = jobs.begin()
  if (first !== undefined) jobs.end(first)
  const afterwards = jobs.begin()

  expect(whileBusy).toBeUndefined()
  expect(afterwards?.sources).toEqual(['d'])
  expect(jobs.chunkCount).toBe(1)
  expect(jobs.clear()).toHaveLength(1)
  expect(jobs.begin()).toBeUndefined()
})
