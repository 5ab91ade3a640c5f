import type { BatchHandler, LogBatch } from '../../src/eventlog/event-log.js'
import { createPostgresEventLog, type PostgresEventLog } from '../../src/eventlog/postgres-event-log.js'
import type { PostgresReader } from '../../src/eventlog/postgres-reader.js'
import { createRecordCodec } from '../../src/eventlog/record-codec.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createMetrics } from '../../src/kernel/metrics.js'
import { type SecurityEvent, SLOT_COUNT } from '../../src/secevent/event.js'
import { inTransaction, sqlRows } from '../../src/storage/database.js'
import { createTestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'
import { clock, createTestKeyStore, createTestSlots, ISSUER, makeEvent } from './log-fixtures.js'

export const ALL_SLOTS = Array.from({ length: SLOT_COUNT }, (_, slot) => slot)

export type DirectRig = Awaited<ReturnType<typeof openDirectRig>>

/** One process with the log in Postgres, and a handler that stores effects as fan-out does. */
export async function openDirectRig() {
  const database = await createTestDatabase()
  const { db } = database
  await db.raw('create table effects (n bigserial primary key, event_id uuid not null)')
  const keys = createTestKeyStore().open()
  const codec = createRecordCodec({ keys, issuer: ISSUER, clock, maxAgeMs: 86_400_000 })
  const slots = createTestSlots()
  const metrics = createMetrics()
  const ending: (() => Promise<unknown>)[] = []
  /** Ids of each batch, in the order in which the handler got them. */
  const handed: string[][] = []

  function openLog(keepForRelay = false): PostgresEventLog {
    const pools = { control: db, urgent: db, routine: db }
    const common = { codec, clock, logger: silentLogger, metrics, pools, slots, keepForRelay }
    const log = createPostgresEventLog({ ...common, pollMs: 100, appendTimeoutMs: 500 })
    ending.push(() => log.close())
    return log
  }

  /** Stores the effects and closes the batch: its COMMIT is sent along. */
  function store(before?: (batch: LogBatch) => unknown): BatchHandler {
    return async (batch) => {
      const ids = batch.items.flatMap(({ event }) => (event ? [event.eventId] : []))
      handed.push(ids)
      await before?.(batch)
      await inTransaction(db, async (trx) => {
        await batch.checkOrder(trx)
        const stored = Promise.all([
          sqlRows(trx, 'insert into effects (event_id) select unnest(?::uuid[])', [ids]),
          batch.close(trx, batch.items),
        ])
        trx.commit()
        await stored
      })
    }
  }

  async function start(log: PostgresEventLog, handler: BatchHandler): Promise<PostgresReader> {
    const reader = log.subscribe('urgent', handler) as PostgresReader
    ending.push(() => reader.stop())
    await reader.start()
    return reader
  }

  /** How many rows the log ever had: a row that was closed has moved the sequence all the same. */
  async function rowsMade(): Promise<number> {
    const [row] = await sqlRows<{ made: number }>(
      db,
      'select case when is_called then last_value else 0 end as made from event_log_id_seq',
    )
    return row?.made ?? 0
  }

  /** A reader takes nothing straight before it has looked into the table. */
  async function untilDirect(log: PostgresEventLog): Promise<void> {
    await waitUntil('an event to be taken straight', async () => {
      const before = await rowsMade()
      await log.append([makeEvent()])
      return (await rowsMade()) === before
    })
    handed.length = 0
    await db.raw('truncate effects')
  }

  return {
    db,
    slots,
    handed,
    openLog,
    store,
    start,
    rowsMade,
    untilDirect,
    /** A log whose reader takes events straight; the hook is called for each batch from then on. */
    async openDirect() {
      const hook: { before?: (batch: LogBatch) => unknown } = {}
      const log = openLog()
      const reader = await start(
        log,
        store((batch) => hook.before?.(batch)),
      )
      await untilDirect(log)
      return { log, reader, hook }
    },
    async effects(): Promise<string[]> {
      const rows = await sqlRows<{ event_id: string }>(db, 'select event_id from effects order by n')
      return rows.map((row) => row.event_id)
    },
    async openRows(): Promise<number> {
      return (await sqlRows(db, 'select 1 from event_log where not relay')).length
    },
    async metric(name: string): Promise<number> {
      const lines = (await metrics.render()).split('\n')
      const line = lines.find((one) => one.startsWith(`${name}{`) && one.includes('lane="urgent"'))
      return Number(line?.split(' ')[1] ?? 0)
    },
    async close() {
      for (const end of ending.reverse()) await end()
      await database.close()
    },
  }
}

/** A door that is shut until it is opened; it may be passed ever after. */
export function createGate() {
  let open = () => {}
  const passed = new Promise<void>((resolve) => {
    open = resolve
  })
  return { open, passed }
}

export const idsOf = (events: readonly SecurityEvent[]): string[] => events.map(({ eventId }) => eventId)

/** Notes when a promise is settled, without waiting for it. */
export function watch(promise: Promise<unknown>): { isSettled: boolean } {
  const watched = { isSettled: false }
  const note = () => {
    watched.isSettled = true
  }
  promise.then(note, note)
  return watched
}
