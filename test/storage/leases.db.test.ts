import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { createClock } from '../../src/kernel/clock.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { type Database, openPool, sqlRows } from '../../src/storage/database.js'
import { fenceAllLeases, hasOwner } from '../../src/storage/lease-repository.js'
import { createLeases, LEASE_MS, type LeaseSet } from '../../src/storage/leases.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'

const UNITS = 16

describe('storage: leases', () => {
  let test: TestDatabase
  let started: LeaseSet[] = []
  before(async () => {
    test = await createTestDatabase()
  })
  after(() => test.close())
  afterEach(async () => {
    await Promise.all(started.map((set) => set.stop()))
    started = []
  })

  async function start(kind: string, db: Database = test.db, units = UNITS): Promise<LeaseSet> {
    const set = createLeases({
      db,
      kind,
      units,
      processId: randomUUID(),
      clock: createClock(),
      logger: silentLogger,
    })
    started.push(set)
    await set.start()
    return set
  }

  /** Waits until what it holds ends later than it does now. */
  async function renewal(set: LeaseSet): Promise<void> {
    const ends = () => Math.max(...[...set.owned().values()].map((lease) => lease.endsAtMonotonicMs))
    const before = ends()
    await waitUntil('the lease is renewed', () => ends() > before)
  }

  it('gives one process everything at once, and shares evenly when a second comes', async () => {
    const first = await start('even')
    assert.equal(first.owned().size, UNITS)
    const lost: number[] = []
    first.onChange((change) => lost.push(...change.lost))
    const second = await start('even')
    await waitUntil('both own a half', () => first.owned().size === 8 && second.owned().size === 8)
    assert.equal(new Set([...first.owned().keys(), ...second.owned().keys()]).size, UNITS)
    assert.deepEqual(
      lost.sort((a, b) => a - b),
      [...second.owned().keys()].sort((a, b) => a - b),
    )
  })

  it('gives units away only when the work begun under them has ended', async () => {
    const first = await start('busy')
    let end = () => {}
    first.onChange(({ lost }) =>
      lost.length > 0 ? new Promise<void>((resolve) => (end = resolve)) : undefined,
    )
    const second = await start('busy')
    await waitUntil('the first gives a half', () => first.owned().size === UNITS / 2)
    // By the next renewal the second has asked for its share more than once: it got nothing before its time.
    await renewal(first)
    assert.equal(second.owned().size, 0)
    end()
    await waitUntil('the second has a half', () => second.owned().size === UNITS / 2)
  })

  it('gives a unit to one process only, with an epoch that rises with each owner', async () => {
    const first = await start('epochs')
    const before = first.get(0)?.epoch ?? 0
    await first.stop()
    assert.equal(first.get(0), undefined)
    const second = await start('epochs')
    assert.equal(second.get(0)?.epoch, before + 1)
    const third = await start('epochs', test.db, 1)
    await renewal(second)
    assert.equal([second, third].filter((set) => set.get(0)).length, 1)
  })

  it('renews: the end moves on and the epoch stays', async () => {
    const set = await start('renewed', test.db, 1)
    const epoch = set.get(0)?.epoch
    assert.ok(epoch !== undefined)
    await renewal(set)
    assert.equal(set.get(0)?.epoch, epoch)
  })

  it("takes a dead process's units, and that process knew before that they were lost", async () => {
    const pool = openPool(test.url, { name: 'dies', max: 2 })
    const dying = await start('death', pool)
    const living = await start('death')
    await waitUntil('both own a half', () => living.owned().size === 8 && dying.owned().size === 8)
    const told: { at: number; units: number[] }[] = []
    dying.onChange(({ lost }) => void told.push({ at: performance.now(), units: lost }))
    const gained: number[] = []
    living.onChange((change) => {
      for (const lease of change.gained) {
        assert.equal(dying.get(lease.unit), undefined, 'two owners at once')
        gained.push(performance.now())
      }
    })
    // Cut from the database, as by a network that is gone: it cannot release anything.
    await pool.destroy()
    await waitUntil('the living one owns all', () => living.owned().size === UNITS)
    assert.equal(told.flatMap(({ units }) => units).length, 8)
    assert.ok(Math.max(...told.map(({ at }) => at)) < Math.min(...gained))
    started = started.filter((set) => set !== dying)
    await dying.stop()
  }).timeout(90_000)

  it('gives everything back at stop, so that others need not wait', async () => {
    const first = await start('handed-over')
    assert.equal(await hasOwner(test.db, 'handed-over', 0), true)
    assert.equal(await hasOwner(test.db, 'another-kind', 0), false)
    await first.stop()
    assert.equal(await hasOwner(test.db, 'handed-over', 0), false)
    const rows = await sqlRows<{ n: number }>(
      test.db,
      "select count(*) n from leases where kind = 'handed-over' and (owner is not null or expires_at > now())",
    )
    assert.equal(rows[0]?.n, 0)
    assert.equal((await start('handed-over')).owned().size, UNITS)
  })

  it('ends leases on the clock of the database, at most 8 s after their renewal', async () => {
    await start('term', test.db, 1)
    const rows = await sqlRows<{ ms: number }>(
      test.db,
      "select (extract(epoch from expires_at - clock_timestamp()) * 1000)::float8 ms from leases where kind = 'term'",
    )
    assert.ok((rows[0]?.ms ?? 0) > 0 && (rows[0]?.ms ?? 0) <= LEASE_MS)
  })

  it('takes everything from everybody in a restored copy, under epochs that a process of before cannot hold', async () => {
    const database = await createTestDatabase()
    try {
      const before = await start('copied', database.db)
      const ahead = 1_000
      // Units changed hands often after the copy was made: the old process is ahead of what stands in it.
      await database.db.raw('update leases set epoch = epoch + ?', [ahead])
      await database.db.transaction(fenceAllLeases)
      await waitUntil('it notices', async () => {
        const lease = before.get(0)
        return lease === undefined || lease.epoch > ahead + 1
      })
      const rows = await sqlRows<{ low: number }>(database.db, 'select min(epoch) low from leases')
      assert.ok((rows[0]?.low ?? 0) > 1e12)
      // Twice at the same moment it still rises.
      await database.db.transaction(fenceAllLeases)
      const again = await sqlRows<{ low: number }>(database.db, 'select min(epoch) low from leases')
      assert.ok((again[0]?.low ?? 0) > (rows[0]?.low ?? 0))
      await before.stop()
      started = started.filter((set) => set !== before)
    } finally {
      await database.close()
    }
  })
})
