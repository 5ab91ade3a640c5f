'use strict'
const Mocha = require('mocha')

/** mocha's own report, closed by one line that a script can read: `N passed, N failed`. */
class ClosingReporter extends Mocha.reporters.Spec {
  constructor(runner, options) {
    super(runner, options)
    let closed = false
    runner.once('end', () => {
      // After the epilogue, which the parent prints at the same event.
      process.once('exit', () => {
        if (closed) return
        closed = true
        process.stdout.write(`${this.stats.passes} passed, ${this.stats.failures} failed\n`)
      })
    })
  }
}

module.exports = ClosingReporter
