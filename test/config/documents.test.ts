import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { renderEnvExample, renderSettingsTable } from './render-settings.js'

const root = new URL('../../../', import.meta.url)
const BEGIN = '<!-- settings -->\n'
const END = '\n<!-- /settings -->'

// After a change of settings: UPDATE_DOCS=1 npx mocha --spec dist/test/config/documents.test.js
const update = process.env.UPDATE_DOCS === '1'

function settingsPartOf(readme: string): { before: string; table: string; after: string } {
  const [before = '', rest = ''] = readme.split(BEGIN)
  const [table = '', after = ''] = rest.split(END)
  return { before, table, after }
}

describe('documents of the settings', () => {
  it('keep .env.example equal to the schema', () => {
    const file = new URL('.env.example', root)
    if (update) writeFileSync(file, renderEnvExample())
    assert.equal(readFileSync(file, 'utf8'), renderEnvExample())
  })

  it('keep the README table equal to the schema', () => {
    const file = new URL('README.md', root)
    const { before, table, after } = settingsPartOf(readFileSync(file, 'utf8'))
    if (update) writeFileSync(file, `${before}${BEGIN}${renderSettingsTable()}${END}${after}`)
    else assert.equal(table, renderSettingsTable())
  })
})
