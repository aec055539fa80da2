import { expect, test } from '@jest/globals'
import { formatHostPort, isHostPort, parseHostPort } from '../../src/agent/host-port.ts'

test.each([
  ['127.0.0.1:2811', '127.0.0.1', 2811],
  ['localhost:0', 'localhost', 0],
  ['[::1]:65535', '::1', 65_535]
])('%s is a host and a port', (text, host, port) => {
  expect(parseHostPort(text)).toEqual({ host, port })
})

test.each([
  '',
  ':1',
  'host',
  'host:',
  'host:65536',
  'host:1x',
  '::1:80',
  '[::1]80',
  'a b:1',
  '[]:1'
])('"%s" is refused', (text) => {
  expect(isHostPort(text)).toBe(false)
  expect(() => parseHostPort(text)).toThrow(`"${text}" is not HOST:PORT`)
})

test.each([
  [{ address: '127.0.0.1', port: 1 }, '127.0.0.1:1'],
  [{ address: '::', port: 2 }, '[::]:2']
])('%j is written so that it can be parsed again', (address, text) => {
  expect(formatHostPort(address)).toBe(text)
  expect(parseHostPort(text)).toEqual({ host: address.address, port: address.port })
})
