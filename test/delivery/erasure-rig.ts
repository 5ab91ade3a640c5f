import { createAuditLog } from '../../src/audit/audit-log.js'
import { createErasureService } from '../../src/delivery/erasure-service.js'
import { createErasureWorker } from '../../src/delivery/erasure-worker.js'
import { createAcknowledgementRepository } from '../../src/enforcement/acknowledgement-repository.js'
import { eraseRelayed } from '../../src/eventlog/log-erasure.js'
import { createClock, dayOf } from '../../src/kernel/clock.js'
import { createEventIds } from '../../src/kernel/ids.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { SealBroken } from '../../src/keys/aead.js'
import { type Database, sqlRows } from '../../src/storage/database.js'
import { createSubjectEraser } from '../../src/streams/subject-erasure.js'
import { createSubjectService } from '../../src/streams/subject-service.js'
import type { DeliveryHarness } from './delivery-harness.js'

export type ErasureRig = ReturnType<typeof createErasureRig>

/** Erasures beside a delivery room, wired as the hub does; the worker goes only when the test says. */
export function createErasureRig(hub: DeliveryHarness) {
  const { db, keys } = hub
  const audit = createAuditLog()
  const state = { drained: true, leader: true }
  let rings = 0
  const ring = () => {
    rings += 1
  }
  const service = createErasureService({ db, audit, keys, requested: ring })
  const newWorker = () =>
    createErasureWorker({
      db,
      audit,
      logger: silentLogger,
      clock: createClock(),
      keys,
      isLeader: () => state.leader,
      isDrained: async () => state.drained,
      eraseRecords: (person) => eraseRelayed(db, person),
      eraseSubjects: createSubjectEraser((sealed, context) => keys.open(sealed, context)),
      eraseReports: (trx, events) => createAcknowledgementRepository(trx).eraseReasons(events),
      streamChanged: (streamId) => hub.delivery.streamChanged(streamId),
    })
  const settings = { maxSubjectsPerStream: 1_000, subjectRemovalGraceS: 0 }
  return {
    service,
    state,
    newWorker,
    rings: () => rings,
    subjects: createSubjectService({ db, settings, keys }),
    nextEventId: createEventIds(createClock()),
    /** One round, as far as it gets. */
    work: () => newWorker().workOnce(),
    /** Everything in the database as text: rows as they are, and what the hub's keys open of them. */
    async dump(): Promise<string> {
      const tables = await sqlRows<{ name: string }>(
        db,
        `select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname = current_schema() and c.relkind = 'r'`,
      )
      const parts: string[] = []
      for (const { name } of tables) {
        const { rows } = (await db.raw('select to_jsonb(t)::text as row from ?? t', [name])) as {
          rows: { row: string }[]
        }
        for (const { row } of rows) parts.push(`${name} ${row}`, ...(await opened(hub, row)))
      }
      return parts.join('\n')
    },
  }
}

/** What is under seal or in base64url in one row. */
async function opened({ keys }: DeliveryHarness, row: string): Promise<string[]> {
  const values = JSON.parse(row) as Record<string, unknown>
  const bytes = (text: unknown) => Buffer.from(String(text).slice(2), 'hex')
  const found: string[] = []
  for (const [column, value] of Object.entries(values)) {
    if (typeof value !== 'string') continue
    if (value.startsWith('\\x')) found.push(bytes(value).toString('latin1'))
    if (/^[\w-]+\.[\w-]+\.[\w-]+$/.test(value))
      found.push(Buffer.from(value.split('.')[1] ?? '', 'base64url').toString())
    const sealed = value.startsWith('\\x') && value.length > 2
    if (sealed && column === 'subject_wrapped') {
      found.push(keys.open(bytes(value), `stream:${String(values.stream_id)}:subject`).toString())
    }
    if (sealed && column === 'identifiers_wrapped') {
      found.push(keys.open(bytes(value), `erasure ${String(values.id)}`).toString())
    }
    if (sealed && (column === 'content' || column === 'record')) {
      const day = typeof values.day === 'string' ? values.day : dayOf(Date.parse(String(values.parked_at)))
      try {
        found.push((await keys.contentCipher(day)).open(bytes(value)).toString())
      } catch (error) {
        if (!(error instanceof SealBroken)) throw error
      }
    }
  }
  return found
}

/** A row that waits to be copied to Kafka. */
export async function addRelayRow(db: Database, eventId: string, claims: object): Promise<void> {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const record = `${part({ alg: 'ES256' })}.${part(claims)}.c2lnbmF0dXJl`
  await sqlRows(db, 'insert into event_log (lane, slot, event_id, record, relay) values (1, 0, ?, ?, true)', [
    eventId,
    record,
  ])
}
