import { randomUUID } from 'node:crypto'
import { createLatencyFolder } from '../../src/enforcement/latency-folder.js'
import { createLatencyHistogramRepository } from '../../src/enforcement/latency-histogram-repository.js'
import { createClock } from '../../src/kernel/clock.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { type Database, openPool, sqlRows } from '../../src/storage/database.js'
import { migrate } from '../../src/storage/migrator.js'
import { ensureDayPartition } from '../../src/storage/partitions.js'
import { createHubProcess, type HubProcess } from '../../test/support/hub-process.js'
import { startPostgresServer } from '../../test/support/postgres-server.js'
import { TYPES } from '../hub-under-test.js'
import { median } from '../statistics.js'
import type { Finding } from './finding.js'
import type { PromiseContext } from './scene.js'

const ACKNOWLEDGEMENTS = 10_000_000
const DAYS = 21
const STREAMS = 100
const DAY_MS = 86_400_000
const DEADLINES = { received: 30_000, applied: 60_000, verified: 120_000 }
const SETTINGS = { shared_buffers: '256MB', max_wal_size: '4GB' }
const ASKED = 5
const ASK_MS = 60_000

/**
 * Time to revoke over many acknowledgements: each delivery was received and reported as applied, evenly over three weeks,
 * half a minute late at most. The hours are folded beforehand, as a running hub has them.
 */
export async function measureHistory(context: PromiseContext): Promise<Finding[]> {
  const { say, cleanups, quick } = context
  const count = quick ? 100_000 : ACKNOWLEDGEMENTS
  const postgres = await startPostgresServer({ settings: SETTINGS })
  cleanups.push(() => postgres.remove())
  const db = openPool(postgres.url, { name: 'bench', max: 2, statementTimeoutMs: 600_000 })
  cleanups.push(() => db.destroy())
  await migrate(db)
  await fill(db, count, context)
  say('folding the hours')
  const folder = createLatencyFolder({
    repository: createLatencyHistogramRepository(db, DEADLINES),
    isLeader: () => true,
    clock: createClock(),
    logger: silentLogger,
  })
  await folder.fold()
  await db.raw('vacuum analyze')
  const hub = await createHubProcess({ env: { DATABASE_URL: postgres.url, LOG_LEVEL: 'error' } })
  cleanups.push(() => hub.remove())
  hub.start()
  await hub.ready()
  const findings: Finding[] = []
  for (const stage of ['received', 'applied'] as const) {
    for (const [name, days] of [
      ['the last 24 h', 1],
      [`${DAYS} days`, DAYS],
    ] as const) {
      const { ms, detail } = await ask(hub, { stage, days })
      say(`${stage}, ${name}: ${ms.toFixed(0)} ms`)
      findings.push({
        promise: `time to revoke (${stage}) of ${name}, of ${count.toLocaleString('en-US')} acknowledgements`,
        seen: ms,
        unit: 'ms',
        bound: 100,
        detail,
      })
    }
  }
  return findings
}

async function fill(db: Database, count: number, { say, signal }: PromiseContext): Promise<void> {
  const receiver = randomUUID()
  await sqlRows(
    db,
    `insert into receivers (id, name, client_id, audience) values (?::uuid, 'bench', 'bench', 'https://bench.example')`,
    [receiver],
  )
  const streams = Array.from({ length: STREAMS }, () => randomUUID())
  const perDay = Math.ceil(count / DAYS)
  const endMs = Math.floor(Date.now() / 60_000) * 60_000
  for (let age = DAYS; age >= 0; age -= 1)
    await ensureDayPartition(db, new Date(endMs - age * DAY_MS).toISOString().slice(0, 10))
  for (let age = DAYS; age >= 1; age -= 1) {
    signal.throwIfAborted()
    await insertDay(db, { streams, receiver, fromMs: endMs - age * DAY_MS, count: perDay })
    say(`${((DAYS - age + 1) * perDay).toLocaleString('en-US')} acknowledgements`)
  }
}

/** Event ids begin with their accept time, as the hub's own do. */
async function insertDay(
  db: Database,
  day: { streams: readonly string[]; receiver: string; fromMs: number; count: number },
): Promise<void> {
  await sqlRows(
    db,
    `with n as materialized (
       select (?::uuid[])[1 + i % ?] as stream_id, to_timestamp((?::float8 + i * ?::float8) / 1000) as accepted_at, i,
         (lpad(to_hex((?::float8 + i * ?::float8)::bigint), 12, '0') || '7' || substr(md5(i::text), 1, 3) || '8' || substr(md5(i::text), 5, 15))::uuid as event_id,
         20 + 400 * random() * random() * random() as ms
       from generate_series(0, ? - 1) i
     ), received as (
       insert into deliveries (stream_id, event_id, day, receiver_id, lane, type, effect, txn, source_id, accepted_at,
         event_timestamp, expects, queued_at, delivered_at, received_at, finished_at, outcome, attempts)
       select stream_id, event_id, (accepted_at at time zone 'UTC')::date, ?::uuid, 1, ?, 'tightens', 'txn-' || i, ?::uuid, accepted_at,
         accepted_at - interval '90 ms', 3, accepted_at, accepted_at + ms / 2 * interval '1 ms', accepted_at + ms * interval '1 ms',
         accepted_at + ms * interval '1 ms', 'received', 1
       from n
     )
     insert into acknowledgements (stream_id, event_id, day, receiver_id, stage, status, reported_at)
     select stream_id, event_id, (accepted_at at time zone 'UTC')::date, ?::uuid, 'applied', 'applied', accepted_at + 3 * ms * interval '1 ms'
     from n`,
    [
      day.streams,
      day.streams.length,
      day.fromMs,
      DAY_MS / day.count,
      day.fromMs,
      DAY_MS / day.count,
      day.count,
      day.receiver,
      TYPES.urgent,
      '00000000-0000-4000-8000-000000000001',
      day.receiver,
    ],
  )
}

async function ask(
  hub: HubProcess,
  { stage, days }: { stage: string; days: number },
): Promise<{ ms: number; detail: string }> {
  const taken: number[] = []
  let seen = 0
  for (let time = 0; time < ASKED; time += 1) {
    const to = Date.now()
    const query = new URLSearchParams({
      stage,
      group_by: 'event_type',
      from: new Date(to - days * DAY_MS).toISOString(),
      to: new Date(to).toISOString(),
    })
    const beganMs = performance.now()
    const response = await fetch(`${hub.url}/v1/time-to-revoke?${query}`, {
      headers: { authorization: `Bearer ${hub.adminToken}` },
      signal: AbortSignal.timeout(ASK_MS),
    })
    const text = await response.text()
    if (response.status !== 200) throw new Error(`the hub answered ${response.status}: ${text}`)
    taken.push(performance.now() - beganMs)
    const [group] = (JSON.parse(text) as { items: { count: number }[] }).items
    seen = group?.count ?? 0
    if (seen === 0) throw new Error('the hub found no samples')
  }
  return { ms: median(taken), detail: `${seen.toLocaleString('en-US')} samples by event type` }
}
