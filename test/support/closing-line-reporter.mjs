import { writeSync } from 'node:fs'

/** Ends every run with one plain line, `N passed, N failed, N skipped`, that scripts can read. */
export default class ClosingLineReporter {
  onRunComplete(_contexts, results) {
    const skipped = results.numPendingTests + results.numTodoTests
    const failed = results.numFailedTests + results.numRuntimeErrorTestSuites
    // At the very end: jest's own summary comes after every reporter.
    process.once('exit', () => {
      writeSync(1, `${results.numPassedTests} passed, ${failed} failed, ${skipped} skipped\n`)
    })
  }
}
