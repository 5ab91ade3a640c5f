import assert from 'node:assert/strict'
import pg from 'pg'
import { StartupError } from '../../src/kernel/errors.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { sqlRows } from '../../src/storage/database.js'
import { holdSessionLock, type SessionLock } from '../../src/storage/session-lock.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'

describe('storage: session lock', () => {
  let test: TestDatabase
  let locks: SessionLock[] = []
  let lost: StartupError[] = []
  beforeEach(async () => {
    test = await createTestDatabase()
  })
  afterEach(async () => {
    for (const lock of locks) await lock.release()
    locks = []
    lost = []
    await test.close()
  })

  async function hold(): Promise<SessionLock> {
    const lock = await holdSessionLock({
      url: test.url,
      guarded: '/data',
      logger: silentLogger,
      onLost: (error) => lost.push(error),
    })
    locks.push(lock)
    return lock
  }

  const cut = () =>
    sqlRows(
      test.db,
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'firebreak hub %' and datname = current_database()",
    )

  /** Server processes whose connection holds the lock. */
  const holders = async () => {
    const rows = await sqlRows<{ pid: number }>(
      test.db,
      "select pid from pg_locks where locktype = 'advisory' and granted and database = (select oid from pg_database where datname = current_database())",
    )
    return rows.map(({ pid }) => pid)
  }

  it('refuses a second holder and names the process of the first, until it is released', async () => {
    const first = await hold()
    await assert.rejects(
      hold(),
      (error) =>
        error instanceof StartupError && error.message.includes(`process ${process.pid}) is using /data`),
    )
    await first.release()
    assert.equal(first.held(), false)
    assert.equal((await hold()).held(), true)
  })

  it('is taken again after its connection was cut', async () => {
    const lock = await hold()
    const before = await holders()
    await cut()
    await waitUntil('another connection holds the lock', async () => {
      const now = await holders()
      return now.length === 1 && now[0] !== before[0]
    })
    await waitUntil('the lock is said to be held', () => lock.held())
    assert.deepEqual(lost, [])
  })

  it('says when another hub took it meanwhile', async () => {
    await hold()
    const other = new pg.Client({ connectionString: test.url, application_name: 'firebreak other 4711' })
    await other.connect()
    const { rows } = await other.query<{ classid: number; objid: number }>(
      "select classid::int, objid::int from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())",
    )
    // Queued before the cut, so it is served the moment the first holder is gone.
    const taken = other.query('select pg_advisory_lock($1, $2)', [rows[0]?.classid, rows[0]?.objid])
    await cut()
    await taken
    await waitUntil('the loss is told', () => lost.length > 0)
    assert.match(lost[0]?.message ?? '', /process 4711/)
    await other.end()
  })
})
