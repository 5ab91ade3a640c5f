import assert from 'node:assert/strict'
import { parkedRepository } from '../../src/delivery/parked-repository.js'
import { newId } from '../../src/kernel/ids.js'
import { inTransaction, sqlRows } from '../../src/storage/database.js'
import { makeEvent } from '../eventlog/log-fixtures.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'

describe('parked records and events', () => {
  let test: TestDatabase
  before(async () => {
    test = await createTestDatabase()
  })
  after(() => test.close())
  beforeEach(async () => {
    await test.db.raw('truncate parked')
  })

  const parked = () =>
    sqlRows<Record<string, unknown>>(
      test.db,
      `select kind, code, reason, lane, stream_id, event_id, type, txn, delivery, record, resolved_at, resolution
       from parked order by lane`,
    )
  /** What neither a record nor an event has. */
  const NO_DELIVERY = { stream_id: null, delivery: null, resolved_at: null, resolution: null }

  it('keeps of each record its own code, reason, lane, event and bytes', async () => {
    const eventId = newId()
    const [first, second] = [Buffer.from([0, 1, 255]), Buffer.from('sealed')]
    await inTransaction(test.db, (trx) =>
      parkedRepository.parkRecords(trx, [
        { code: 'untrusted_record', reason: 'malformed', lane: 'control', record: first },
        {
          code: 'unstorable',
          reason: 'It cannot be stored, "so".',
          lane: 'routine',
          eventId,
          record: second,
        },
      ]),
    )
    const shared = { kind: 'record', type: null, txn: null, ...NO_DELIVERY }
    assert.deepEqual(await parked(), [
      {
        ...shared,
        code: 'untrusted_record',
        reason: 'malformed',
        lane: 0,
        event_id: null,
        record: first,
      },
      {
        ...shared,
        code: 'unstorable',
        reason: 'It cannot be stored, "so".',
        lane: 2,
        event_id: eventId,
        record: second,
      },
    ])
  })

  it('keeps of each event its own code, lane, id, type and txn', async () => {
    const unnamed = makeEvent({ lane: 'control', type: 'https://example.com/unknown', txn: 'txn-1' })
    const named = makeEvent({ lane: 'routine', type: 'https://example.com/other', txn: 'txn-2' })
    await inTransaction(test.db, (trx) =>
      parkedRepository.parkEvents(trx, [unnamed, { ...named, quarantine: 'invalid_payload' }]),
    )
    const rows = await parked()
    assert.match(String(rows[0]?.reason), /not sent on/)
    const shared = { kind: 'event', reason: rows[0]?.reason, record: null, ...NO_DELIVERY }
    assert.deepEqual(
      rows,
      [unnamed, named].map(({ eventId, type, txn }, index) => ({
        ...shared,
        code: ['quarantined', 'invalid_payload'][index],
        lane: [0, 2][index],
        event_id: eventId,
        type,
        txn,
      })),
    )
  })
})
