import { fileURLToPath } from 'node:url'

// Threads that tests start (SQLite, checksums) strip the types of their modules once and not at every start, like the
// agents that they start (bin/blobswarm). By the environment, because workers heed only that.
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(
  new URL('node_modules/.cache/blobswarm', import.meta.url)
)

const project = (displayName, testMatch) => ({
  displayName,
  testMatch,
  testEnvironment: '<rootDir>/test/support/plain-context-environment.mjs',
  extensionsToTreatAsEsm: ['.ts'],
  moduleFileExtensions: ['ts', 'js', 'mjs', 'json', 'node'],
  transform: {
    '\\.ts$': [
      '@swc/jest',
      { jsc: { target: 'es2024', parser: { syntax: 'typescript' } }, module: { type: 'es6' } }
    ]
  }
})

export default {
  projects: [
    {
      ...project('unit', ['<rootDir>/test/**/*.test.ts']),
      testPathIgnorePatterns: ['\\.(sim|interop|system)\\.test\\.ts$', '/node_modules/']
    },
    project('simulation', ['<rootDir>/test/**/*.sim.test.ts']),
    project('system', ['<rootDir>/test/**/*.system.test.ts']),
    project('interop', ['<rootDir>/test/**/*.interop.test.ts'])
  ],
  maxWorkers: 2,
  testSequencer: '<rootDir>/test/support/heavy-first-sequencer.mjs',
  testTimeout: 30_000,
  reporters: ['default', '<rootDir>/test/support/closing-line-reporter.mjs']
}
