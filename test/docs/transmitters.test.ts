import assert from 'node:assert/strict'
import { OLD_SPELLINGS, TOLERANCE_SWITCHES } from '../../src/secevent/tolerances.js'
import { readText } from '../support/source-files.js'

/** First cells of the rows of the table under a heading. */
function named(heading: string): string[] {
  const [, rest = ''] = readText('docs/transmitters.md').split(`## ${heading}\n`)
  const [section = ''] = rest.split('\n## ')
  return [...section.matchAll(/^\| `(\w+)` \|/gm)].map((match) => match[1] as string)
}

describe('docs/transmitters.md', () => {
  it('has each switch of a transmitter', () => {
    assert.deepEqual(named('Switches'), Object.keys(TOLERANCE_SWITCHES))
  })

  it('has each spelling that is taken from everybody', () => {
    assert.deepEqual(named('Taken from everybody'), [...OLD_SPELLINGS])
  })
})
