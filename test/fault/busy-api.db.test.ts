import assert from 'node:assert/strict'
import { type Database, sqlRows } from '../../src/storage/database.js'
import { type RealHub, startRealHub } from '../support/order-real-hub.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'

const REQUESTS = 30

describe('fault: an API that waits for the database', function () {
  this.timeout(60_000)
  let database: TestDatabase
  let hub: RealHub

  before(async () => {
    database = await createTestDatabase()
    hub = await startRealHub(database.url)
  })
  after(async () => {
    await hub?.stop()
    await database?.close()
  })

  it('costs the hub no lease, though its requests hold every connection of their pool', async () => {
    await waitUntil('the hub holds every shard', async () => (await owned(database.db)).length === 256)
    const before = await owned(database.db)
    const latest = Math.max(...before.map(({ until_ms }) => until_ms))
    const trx = await database.db.transaction()
    await trx.raw('lock table operators in access exclusive mode')
    const asked = Array.from({ length: REQUESTS }, () => hub.call('GET', '/v1/receivers').catch(() => {}))
    // Past the end of every lease as it was when the requests came.
    await waitUntil(
      'the leases of before would be over',
      async () => (await databaseNow(database.db)) > latest,
    )
    const after = await owned(database.db)
    await trx.rollback()
    await Promise.all(asked)
    assert.deepEqual(after.map(identity), before.map(identity))
  })

  /** As an admin. */
  const statusOf = (path: string): Promise<number> =>
    hub.call('GET', path).then(
      () => 200,
      (error: Error) => Number(/answered (\d+)/.exec(error.message)?.[1]),
    )

  it('answers at once while queries over the events wait, and tells those beyond its bound to come back', async () => {
    const trx = await database.db.transaction()
    await trx.raw('lock table deliveries in access exclusive mode')
    const statuses: number[] = []
    const slow = Array.from({ length: REQUESTS }, async () => {
      statuses.push(await statusOf('/v1/time-to-revoke'))
    })
    await waitUntil('the bound is reached', async () => statuses.includes(429))
    assert.equal(await statusOf('/v1/receivers'), 200)
    assert.deepEqual(new Set(statuses), new Set([429]))
    await trx.rollback()
    await Promise.all(slow)
    assert.deepEqual(new Set(statuses), new Set([200, 429]))
  })

  it('answers 429 with Retry-After to one who calls without end', async () => {
    const statuses: number[] = []
    await waitUntil('a call is refused', async () => {
      const asked = Array.from({ length: 100 }, () => statusOf('/v1/log-keys'))
      statuses.push(...(await Promise.all(asked)))
      return statuses.includes(429)
    })
    assert.ok(statuses.length >= 1_000)
  })
})

interface Owned {
  unit: number
  epoch: number
  until_ms: number
}

const identity = ({ unit, epoch }: Owned) => `${unit}@${epoch}`

/** The shards whose lease is in force. */
function owned(db: Database): Promise<Owned[]> {
  return sqlRows<Owned>(
    db,
    `select unit, epoch, (extract(epoch from expires_at) * 1000)::float8 as until_ms
     from leases where kind = 'delivery' and expires_at > now() order by unit`,
  )
}

async function databaseNow(db: Database): Promise<number> {
  const [row] = await sqlRows<{ ms: number }>(
    db,
    'select (extract(epoch from clock_timestamp()) * 1000)::float8 as ms',
  )
  return (row as { ms: number }).ms
}
