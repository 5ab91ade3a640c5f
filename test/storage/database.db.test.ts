import assert from 'node:assert/strict'
import { sqlRows } from '../../src/storage/database.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'

describe('storage: database', () => {
  let test: TestDatabase
  before(async () => {
    test = await createTestDatabase()
  })
  after(() => test.close())

  it('gives each caller a migrated database of its own', async () => {
    const other = await createTestDatabase()
    await other.db('operators').insert({
      id: '00000000-0000-7000-8000-000000000001',
      name: 'a',
      role: 'viewer',
      token_hash: Buffer.from('x'),
    })
    assert.equal((await sqlRows<{ n: number }>(other.db, 'select count(*) n from operators'))[0]?.n, 1)
    assert.equal((await sqlRows<{ n: number }>(test.db, 'select count(*) n from operators'))[0]?.n, 0)
    await other.close()
  })

  it('carries hundreds of rows in one statement through arrays', async () => {
    const numbers = Array.from({ length: 500 }, (_, index) => index)
    const rows = await sqlRows<{ total: number }>(
      test.db,
      'select sum(n)::bigint total from unnest(?::int[]) n',
      [numbers],
    )
    assert.equal(rows[0]?.total, 124_750)
  })
})
