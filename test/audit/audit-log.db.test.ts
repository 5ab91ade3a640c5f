import assert from 'node:assert/strict'
import { AUDIT_COLUMNS, type AuditRow, hashAuditRow, verifyAuditChain } from '../../src/audit/audit-chain.js'
import { createAuditLog } from '../../src/audit/audit-log.js'
import { createAuditSealer } from '../../src/audit/audit-sealer.js'
import { trimAudit } from '../../src/audit/audit-trim.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { sqlRows } from '../../src/storage/database.js'
import type { Lease } from '../../src/storage/leases.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'

type SealerLease = Parameters<typeof createAuditSealer>[0]['lease']
const HELD: SealerLease = {
  get: (): Lease => ({ unit: 0, epoch: 1, endsAtMonotonicMs: Number.POSITIVE_INFINITY }),
}

describe('audit: log and sealer', () => {
  let test: TestDatabase
  const log = createAuditLog()
  beforeEach(async () => {
    test = await createTestDatabase()
  })
  afterEach(() => test.close())

  const createSealer = (lease = HELD) => createAuditSealer({ db: test.db, lease, logger: silentLogger })

  async function record(count: number): Promise<void> {
    for (let n = 0; n < count; n += 1) {
      await log.record(test.db, {
        actor: 'operator:ann',
        action: 'stream.updated',
        target: `stream:${n}`,
        detail: { n },
      })
    }
  }

  it('writes no row when the change it belongs to is rolled back', async () => {
    await assert.rejects(
      test.db.transaction(async (trx) => {
        await log.record(trx, { actor: 'operator:ann', action: 'key.rotated' })
        throw new Error('no')
      }),
    )
    await record(1)
    assert.equal(await createSealer().sealOnce(), 1)
    assert.deepEqual((await verifyAuditChain(test.db)).ok, true)
  })

  it('seals in order without gaps, over several runs and sealers', async () => {
    const first = createSealer()
    const second = createSealer()
    await record(5)
    await first.sealOnce()
    await record(7)
    await Promise.all([first.sealOnce(), second.sealOnce(), first.sealOnce()])
    const rows = await sqlRows<{ seq: number; target: string }>(
      test.db,
      'select seq, target from audit_log order by seq',
    )
    assert.deepEqual(
      rows.map((row) => row.seq),
      Array.from({ length: 12 }, (_, index) => index + 1),
    )
    assert.deepEqual(
      rows.slice(5).map((row) => row.target),
      Array.from({ length: 7 }, (_, n) => `stream:${n}`),
    )
    const verdict = await verifyAuditChain(test.db)
    assert.ok(verdict.ok && verdict.rows === 12)
  })

  it('names the first row that was changed, renumbered, rewritten or removed', async () => {
    await record(6)
    await createSealer().sealOnce()
    const tampered = async (sql: string) => {
      let verdict: unknown
      await test.db
        .transaction(async (trx) => {
          await trx.raw(sql)
          verdict = await verifyAuditChain(trx)
          throw new Error('undo')
        })
        .catch(() => {})
      const { id: _, ...rest } = verdict as { id?: string }
      return rest
    }
    const changed = { ok: false, seq: 3, reason: 'changed' }
    assert.deepEqual(await tampered(`update audit_log set actor = 'nobody' where seq = 3`), changed)
    assert.deepEqual(await tampered(`update audit_log set detail = '{"n": 9}' where seq = 3`), changed)
    assert.deepEqual(
      await tampered(`update audit_log set at = at + interval '1 microsecond' where seq = 3`),
      changed,
    )
    assert.deepEqual(await tampered(`update audit_log set target = null where seq = 3`), changed)
    assert.deepEqual(await tampered('delete from audit_log where seq = 3'), {
      ok: false,
      seq: 3,
      reason: 'missing',
    })
    const renumbered = 'delete from audit_log where seq = 1; update audit_log set seq = seq - 1'
    assert.deepEqual(await tampered(renumbered), { ok: false, seq: 1, reason: 'changed' })
    assert.equal((await verifyAuditChain(test.db)).ok, true)
  })

  it('finds a row whose hash was computed again, because the next one no longer follows', async () => {
    await record(4)
    await createSealer().sealOnce()
    await test.db('audit_log').where({ seq: 2 }).update({ actor: 'nobody' })
    const [row] = await sqlRows<AuditRow & { prev_hash: Buffer }>(
      test.db,
      `select prev_hash, ${AUDIT_COLUMNS} from audit_log where seq = 2`,
    )
    assert.ok(row)
    await test
      .db('audit_log')
      .where({ seq: 2 })
      .update({ hash: hashAuditRow(row, 2, row.prev_hash) })
    const verdict = await verifyAuditChain(test.db)
    assert.ok(!verdict.ok)
    assert.deepEqual([verdict.seq, verdict.reason], [3, 'chain_broken'])
  })

  const countOpen = async () =>
    (await sqlRows<{ n: number }>(test.db, 'select count(*) n from audit_log where seq is null'))[0]?.n

  it('seals while it runs, and what the drain wrote when it stops', async () => {
    const sealer = createSealer()
    await sealer.start()
    await record(1)
    await waitUntil('the row is sealed', async () => (await countOpen()) === 0)
    await record(1)
    await sealer.stop()
    assert.equal(await countOpen(), 0)
  })

  it('seals nothing while another process holds the lease', async () => {
    const sealer = createSealer({ get: () => undefined })
    await record(1)
    await sealer.start()
    await sealer.stop()
    assert.equal(await countOpen(), 1)
  })

  it('stores text that PostgreSQL cannot hold without losing the row', async () => {
    await log.record(test.db, {
      actor: 'a\0b',
      action: 'x.y',
      target: '\ud800',
      detail: { reason: 'c\0\udfff' },
    })
    await createSealer().sealOnce()
    const [row] = await sqlRows<{ actor: string; detail: { reason: string } }>(
      test.db,
      'select actor, detail from audit_log',
    )
    assert.equal(row?.actor, 'a\uFFFDb')
    assert.equal(row?.detail.reason, 'c\uFFFD\uFFFD')
    assert.equal((await verifyAuditChain(test.db)).ok, true)
  })

  it('goes on from where it was trimmed, by a hash that it holds, and never trims all of it', async () => {
    await record(5)
    await createSealer().sealOnce()
    await test
      .db('audit_log')
      .where('seq', '<=', 3)
      .update({ at: test.db.raw("now() - interval '40 days'") })
    // Sealed with the old time, as they would be.
    await test.db('audit_log').update({ seq: null, prev_hash: null, hash: null })
    await createSealer().sealOnce()
    assert.equal(await trimAudit(test.db, { audit: log, days: 30 }), 3)
    assert.deepEqual(await verifyAuditChain(test.db).then(({ ok }) => ok), true)
    await createSealer().sealOnce()
    const verdict = await verifyAuditChain(test.db)
    assert.equal(verdict.ok && verdict.rows, 3)
    assert.equal(await trimAudit(test.db, { audit: log, days: 30 }), 0)
    await test.db('audit_log').update({ at: test.db.raw("now() - interval '90 days'") })
    await trimAudit(test.db, { audit: log, days: 30 })
    assert.ok((await test.db('audit_log').whereNotNull('seq')).length === 1, 'the newest sealed row stays')
  })

  it('shows rows that were taken from the beginning without a word', async () => {
    await record(5)
    await createSealer().sealOnce()
    await test.db('audit_log').where('seq', '<=', 3).delete()
    assert.deepEqual(await verifyAuditChain(test.db), { ok: false, seq: 1, reason: 'missing' })
    await log.record(test.db, {
      actor: 'hub',
      action: 'audit.trimmed',
      detail: { seq: 3, hash: '00'.repeat(32) },
    })
    await createSealer().sealOnce()
    const verdict = await verifyAuditChain(test.db)
    assert.equal(!verdict.ok && verdict.reason, 'chain_broken')
  })
})
