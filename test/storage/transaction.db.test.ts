import assert from 'node:assert/strict'
import { type Database, inTransaction, openPool, sqlInOrder, sqlRows } from '../../src/storage/database.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'

interface Connections {
  acquireConnection(): Promise<{ query(config: { text: string }): Promise<unknown> }>
}

const INSERT = 'insert into notes (n) values (?)'
const FAILS = 'select 1 / (?::int - 1)'

describe('storage: a transaction that sends its commit along', () => {
  let test: TestDatabase
  /** One connection: what is not given back is missed at once. */
  let db: Database

  before(async () => {
    test = await createTestDatabase()
    await test.db.raw('create table notes (n int primary key)')
  })
  beforeEach(async () => {
    db = openPool(test.url, { name: 'one', max: 1 })
    await test.db.raw('truncate notes')
  })
  afterEach(() => db.destroy())
  after(() => test.close())

  /** As another connection sees it: what is committed. */
  const stored = async () =>
    (await sqlRows<{ n: number }>(test.db, 'select n from notes order by n')).map(({ n }) => n)
  const pidOf = async (place: Parameters<typeof sqlRows>[0]) =>
    (await sqlRows<{ pid: number }>(place, 'select pg_backend_pid() as pid'))[0]?.pid

  it('has stored what its work wrote, whether or not the work commits, and answers what it answers', async () => {
    const answer = await inTransaction(db, async (trx) => {
      await sqlRows(trx, INSERT, [1])
      assert.deepEqual(await stored(), [])
      return 'one'
    })
    assert.equal(answer, 'one')
    assert.deepEqual(await stored(), [1])
    await inTransaction(db, async (trx) => {
      const written = sqlRows(trx, INSERT, [2])
      trx.commit()
      trx.commit()
      await written
    })
    assert.deepEqual(await stored(), [1, 2])
  })

  it('runs all that was asked for in the same turn before its commit', async () => {
    const [, [, counted]] = await inTransaction(db, async (trx) => {
      const written = Promise.all([
        sqlRows(trx, INSERT, [1]),
        sqlInOrder<[object, { n: number }]>(trx, [
          [INSERT, [2]],
          ['select count(*) as n from notes', []],
        ]),
        sqlRows(trx, INSERT, [3]),
        sqlRows(trx, INSERT, [4]),
      ])
      trx.commit()
      return await written
    })
    assert.deepEqual(counted, [{ n: 2 }])
    assert.deepEqual(await stored(), [1, 2, 3, 4])
  })

  it('stores nothing when a statement fails whose commit was sent already, and names that statement’s error', async () => {
    for (const place of [0, 1, 2]) {
      const failing = inTransaction(db, async (trx) => {
        const written = Promise.all(
          [0, 1, 2].map((n) => sqlRows(trx, n === place ? FAILS : INSERT, [n === place ? 1 : n])),
        )
        trx.commit()
        await written
      })
      await assert.rejects(failing, { code: '22012' })
    }
    assert.deepEqual(await stored(), [])
  })

  it('stores nothing when a statement could not even be sent whose commit was asked for', async () => {
    const unsendable = {
      toPostgres() {
        throw new RangeError('too long')
      },
    }
    for (const value of [unsendable, undefined]) {
      const failing = inTransaction(db, async (trx) => {
        const written = Promise.all([sqlRows(trx, INSERT, [1]), sqlRows(trx, INSERT, [value])])
        trx.commit()
        await written
      })
      await assert.rejects(failing, /too long|is undefined/)
      assert.deepEqual(await stored(), [])
    }
    await inTransaction(db, (trx) => sqlRows(trx, INSERT, [1]))
    assert.deepEqual(await stored(), [1])
  })

  it('says so when nothing was stored although its work went over the failure', async () => {
    const failing = inTransaction(db, async (trx) => {
      await sqlRows(trx, INSERT, [1])
      await sqlRows(trx, FAILS, [1]).catch(() => {})
    })
    await assert.rejects(failing, /rolled back/)
    assert.deepEqual(await stored(), [])
  })

  it('rejects with the error of the commit when it is that which fails', async () => {
    await test.db.raw('create table pairs (n int primary key references notes deferrable initially deferred)')
    await assert.rejects(
      inTransaction(db, (trx) => sqlRows(trx, 'insert into pairs (n) values (7)')),
      { code: '23503' },
    )
    await test.db.raw('drop table pairs')
  })

  it('rolls back when its work throws before the commit, and goes on with the same connection', async () => {
    const pid = await pidOf(db)
    const failing = inTransaction(db, async (trx) => {
      await sqlRows(trx, INSERT, [1])
      throw new Error('changed its mind')
    })
    await assert.rejects(failing, /changed its mind/)
    assert.deepEqual(await stored(), [])
    assert.equal(await pidOf(db), pid)
  })

  it('refuses statements once it has ended', async () => {
    const late = inTransaction(db, async (trx) => {
      trx.commit()
      // The commit is sent at the end of this turn.
      await new Promise((resolve) => setImmediate(resolve))
      await sqlRows(trx, INSERT, [1])
    })
    await assert.rejects(late, /the transaction has ended/)
    const kept = await inTransaction(db, async (trx) => trx)
    await assert.rejects(sqlRows(kept, INSERT, [1]), /the transaction has ended/)
    const failed = inTransaction(db, async (trx) => {
      // Is refused when it is asked for after the rollback.
      const after = new Promise((resolve) => setImmediate(resolve)).then(() => sqlRows(trx, INSERT, [2]))
      refused = assert.rejects(after, /the transaction has ended/)
      throw new Error('changed its mind')
    })
    let refused: Promise<void> | undefined
    await assert.rejects(failed, /changed its mind/)
    await refused
    assert.deepEqual(await stored(), [])
  })

  it('gives its connection back and keeps it, also after a failure that the server has rolled back', async () => {
    const pid = await pidOf(db)
    for (const n of [1, 2]) {
      const failing = inTransaction(db, async (trx) => {
        const written = Promise.all([sqlRows(trx, INSERT, [9]), sqlRows(trx, FAILS, [1])])
        trx.commit()
        await written
      })
      await assert.rejects(failing, { code: '22012' })
      await inTransaction(db, (trx) => sqlRows(trx, INSERT, [n]))
    }
    assert.deepEqual(await stored(), [1, 2])
    assert.equal(await pidOf(db), pid)
  })

  it('goes on with another connection when the server ended the one that it was on', async () => {
    let pid: number | undefined
    const cut = inTransaction(db, async (trx) => {
      pid = await pidOf(trx)
      await sqlRows(trx, INSERT, [1])
      await sqlRows(test.db, 'select pg_terminate_backend(?)', [pid])
      const written = sqlRows(trx, INSERT, [2])
      trx.commit()
      await written
    })
    await assert.rejects(cut)
    await inTransaction(db, (trx) => sqlRows(trx, INSERT, [3]))
    assert.deepEqual(await stored(), [3])
    assert.notEqual(await pidOf(db), pid)
  })

  it('never uses a connection again whose transaction it could not end', async () => {
    const connections = db.client as Connections
    const acquire = connections.acquireConnection.bind(connections)
    let isSpoilt = false
    connections.acquireConnection = async () => {
      const connection = await acquire()
      const query = connection.query.bind(connection)
      if (isSpoilt) return connection
      isSpoilt = true
      connection.query = (config) =>
        config.text === 'rollback' ? Promise.reject(new Error('no answer')) : query(config)
      return connection
    }
    const left = inTransaction(db, async (trx) => {
      await sqlRows(trx, INSERT, [1])
      throw new Error('changed its mind')
    })
    await assert.rejects(left, /changed its mind/)
    // Waits for the lock of the row, should the former still be in its transaction.
    await inTransaction(db, (trx) => sqlRows(trx, INSERT, [1]))
    assert.deepEqual(await stored(), [1])
  })
})
