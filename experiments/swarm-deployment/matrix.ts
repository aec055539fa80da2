import { nameOf, type Setting } from './setting.ts'

/** What is shown about the swarm, in order; a run of everything takes some two hours. */
export function matrix(base: Setting): Setting[] {
  const cell = (hosts: number, rateMbit: number, other: Partial<Setting> = {}): Setting => ({
    ...base,
    scenario: 'all-at-once',
    hosts,
    rateMbit,
    mib: 128,
    mtu: 1500,
    ...other
  })
  return [
    cell(1, 50, { scenario: 'one-host' }),
    cell(8, 50),
    cell(16, 25),
    cell(32, 12.5, { mib: 64 }),
    cell(16, 50),
    cell(16, 50, { mtu: 9000 }),
    cell(8, 50, { scenario: 'late' }),
    cell(8, 50, { scenario: 'churn' }),
    cell(8, 50, { scenario: 'slow-host' }),
    cell(8, 50, { scenario: 'source-dies' })
  ]
}

/** Those cells whose names are among the given ones; all if none is. @throws {RangeError} for an unknown name. */
export function only(cells: readonly Setting[], names: string | undefined): Setting[] {
  if (names === undefined) return [...cells]
  return names.split(',').map((name) => {
    const cell = cells.find((it) => nameOf(it) === name)
    if (cell !== undefined) return cell
    throw new RangeError(`no cell ${name}; there are: ${cells.map(nameOf).join(', ')}`)
  })
}
