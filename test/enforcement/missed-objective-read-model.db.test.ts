import assert from 'node:assert/strict'
import { createMissedObjectiveReadModel } from '../../src/enforcement/missed-objective-read-model.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'

describe('missed objectives', function () {
  this.timeout(60_000)
  let test: TestDatabase
  before(async () => {
    test = await createTestDatabase()
  })
  after(() => test.close())

  it('are given up on when the database does not answer in time', async () => {
    const nowMs = Date.now()
    const model = createMissedObjectiveReadModel(test.db, { timeoutMs: 200 })
    const count = () =>
      model.count({ ranges: [{ fromMs: nowMs - 60_000, toMs: nowMs - 30_000 }], nowMs }, 10_000)
    assert.deepEqual(await count(), [])
    await test.db.transaction(async (trx) => {
      await trx.raw('lock table delivery_queue in access exclusive mode')
      // Not by the statement timeout of the server, which is longer.
      await assert.rejects(count(), /Query read timeout|Connection terminated/)
    })
    assert.deepEqual(await count(), [])
  })
})
