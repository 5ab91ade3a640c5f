import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { ROWS } from './rows.js'
import { runRow } from './run-row.js'

const SCALE = 0.02

/** The part of `npm run fault` that is quick enough for every run of the tests. */
describe('fault: quick rows', function () {
  // Longer than the row and its judge may take: what they have to say tells more than that time is up.
  this.timeout(360_000)
  const seed = randomInt(1, 1_000_000)

  for (const row of ROWS.filter(({ quick }) => quick)) {
    it(`${row.id}: ${row.title}`, async () => {
      const { ok, seen } = await runRow(row, { seed, scale: SCALE })
      assert.ok(ok, `seed ${seed}: ${seen}`)
    })
  }

  it('have an id each, like all rows, and say what is expected', () => {
    assert.equal(new Set(ROWS.map(({ id }) => id)).size, ROWS.length)
    for (const { id, title, expected } of ROWS) assert.ok(id && title && expected)
  })
})
