import { expect, test } from '@jest/globals'
import { parseFtpTime, parseListing } from '../../src/gridftp/client-listing.ts'
import { parseEpsv, parsePasv } from '../../src/gridftp/client-operation.ts'
import { MalformedError } from '../../src/lib/errors.ts'

test('reads the lines of globus-gridftp-server', () => {
  const entries = parseListing(
    [
      'Type=cdir;Modify=20261122083400;Size=4096;Perm=cfmpel;UNIX.mode=0755;Unique=1-2; .',
      'Type=pdir;Modify=20261122083400;Size=4096;Perm=el; ..',
      'Type=file;Modify=20261122083453;Size=7;Perm=awr;UNIX.mode=0644;Unique=1-3; a b.raw',
      'Type=dir;Modify=20261122083454.123;Perm=cfmpel; inner',
      'Type=slink;UNIX.slink=a%20b.raw; link',
      ''
    ].join('\r\n')
  )

  expect(entries.map(({ name, type, bytes }) => [name, type, bytes])).toEqual([
    ['a b.raw', 'file', 7],
    ['inner', 'directory', undefined],
    ['link', 'other', undefined]
  ])
  expect(entries[0]?.modifiedMs).toBe(Date.UTC(2026, 10, 22, 8, 34, 53))
  expect(entries[0]?.facts.get('unix.mode')).toBe('0644')
})

test('takes an entry without a type for a file, and unknown values for none', () => {
  expect(parseListing('Size=x;Modify=soon; name\n')).toMatchObject([
    { name: 'name', type: 'file', bytes: undefined, modifiedMs: undefined }
  ])
})

test('refuses lines that are not facts and a name', () => {
  for (const line of ['total', 'Type=file; ']) {
    expect(() => parseListing(line)).toThrow(MalformedError)
  }
})

test('reads times as UTC', () => {
  expect(parseFtpTime('20240229235959')).toBe(Date.UTC(2024, 1, 29, 23, 59, 59))
  expect(parseFtpTime('2024')).toBeUndefined()
})

test('reads the port of passive mode replies', () => {
  expect(parsePasv('Entering Passive Mode (127,0,0,1,202,35)')).toBe(202 * 256 + 35)
  expect(parsePasv('=10,0,0,1,1,0')).toBe(256)
  expect(parseEpsv('Entering Extended Passive Mode (|||42019|)')).toBe(42_019)
  expect(parseEpsv('ok (|1|127.0.0.1|37473|)')).toBe(37_473)
  expect(parseEpsv('ok (!!!99!)')).toBe(99)
})

test('refuses passive mode replies without a port', () => {
  for (const text of ['', '(1,2,3,4)', '(1,2,3,4,0,0)', '(1,2,3,4,999,9)']) {
    expect(() => parsePasv(text)).toThrow(MalformedError)
  }
  for (const text of ['', '(||||)', '(|||0|)', '(|||70000|)', '|||5|']) {
    expect(() => parseEpsv(text)).toThrow(MalformedError)
  }
})
