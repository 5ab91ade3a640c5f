'use strict'
const { stripVTControlCharacters } = require('node:util')
const Mocha = require('mocha')

const { Base, Spec } = Mocha.reporters

// Colours are for a terminal. mocha's symbols bring their own as soon as CI is set.
if (!process.stdout.isTTY) {
  Base.useColors = false
  for (const [name, symbol] of Object.entries(Base.symbols)) {
    Base.symbols[name] = stripVTControlCharacters(symbol)
  }
}

/** mocha's own report, closed by one line that a script can read: `N passed, N failed`. */
class ClosingReporter extends Spec {
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
