import assert from 'node:assert/strict'
import { newId } from '../../src/kernel/ids.js'
import { sqlInOrder, sqlRows } from '../../src/storage/database.js'
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

  it('runs statements in order on one connection, in a transaction inside it', async () => {
    await test.db.transaction(async (trx) => {
      const [, rows] = await sqlInOrder<[object, { name: string }]>(trx, [
        [
          'insert into operators (id, name, role, token_hash) values (?, ?, ?, ?)',
          [newId(), 'b', 'viewer', Buffer.from('y')],
        ],
        ['select name from operators', []],
      ])
      assert.deepEqual(rows, [{ name: 'b' }])
      assert.deepEqual(await sqlRows(test.db, 'select 1 from operators'), [])
    })
  })

  it('runs nothing for a transaction that has ended: its connection is another’s', async () => {
    const trx = await test.db.transaction()
    const late = trx.rollback().then(() => sqlRows(trx, 'select 1'))
    await assert.rejects(late, /the transaction has ended/)
    await trx.executionPromise.catch(() => {})
  })

  it('gives a connection up whose statement does not end in time, and goes on with another', async () => {
    await assert.rejects(sqlRows(test.db, 'select pg_sleep(5)', [], { timeoutMs: 50 }), /timeout/)
    assert.deepEqual(await sqlRows(test.db, 'select 1 n'), [{ n: 1 }])
  })

  it('names a binding that is undefined instead of storing null', async () => {
    await assert.rejects(sqlRows(test.db, 'select ?::int', [undefined]), /binding.*undefined/)
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
