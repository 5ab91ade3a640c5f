import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT, readText } from '../support/source-files.js'

const TRANSMITTER_ROWS = 100
const RECEIVER_ROWS = 57

interface Row {
  id: string
  state: string
  proof: string
}

const rows: Row[] = readText('docs/conformance.md')
  .split('\n')
  .map((line) => /^\| ([TR]-\d+) \|[^|]+\|[^|]+\| ([^|]*) \| (.*) \|$/.exec(line))
  .filter((match) => match !== null)
  .map(([, id = '', state = '', proof = '']) => ({ id, state, proof }))

/** A title stands in the file as it is, or as a template whose holes may hold anything. */
function holdsTitle(text: string, title: string): boolean {
  if (text.includes(title) || text.includes(title.replaceAll("'", "\\'"))) return true
  return [...text.matchAll(/`([^`\n]*\$\{[^`\n]*)`/g)].some(([, template = '']) => {
    const parts = template.split(/\$\{[^}]*\}/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    return parts.some((part) => part.trim().length > 8) && new RegExp(`^${parts.join('.+')}$`).test(title)
  })
}

describe('docs/conformance.md', () => {
  it('lists every requirement of a transmitter and of a receiver once', () => {
    const expected = [
      ...Array.from({ length: TRANSMITTER_ROWS }, (_, index) => `T-${index + 1}`),
      ...Array.from({ length: RECEIVER_ROWS }, (_, index) => `R-${index + 1}`),
    ]
    assert.deepEqual(
      rows.map((row) => row.id),
      expected,
    )
  })

  it('says of each that it is met, does not apply or is deviated from', () => {
    const odd = rows.filter((row) => !['met', 'not applicable', 'deviates'].includes(row.state))
    assert.deepEqual(odd, [])
  })

  it('names a test that exists, or a document, for what is met, and a reason for the rest', () => {
    const wrong = rows.flatMap(({ id, state, proof }) => {
      if (state !== 'met') return proof.length > 20 ? [] : [`${id}: no reason`]
      const proofs = [...proof.matchAll(/`((?:test|docs)\/[^`]+)`: (.+?)(?=<br>|$)/g)]
      if (proofs.length === 0) return [`${id}: no test`]
      return proofs
        .filter(([, file = '', title = '']) => {
          return !existsSync(join(ROOT, file)) || !holdsTitle(readText(file), title.trim())
        })
        .map(([whole]) => `${id}: ${whole}`)
    })
    assert.deepEqual(wrong, [])
  })
})
