import { setTimeout as sleep } from 'node:timers/promises'
import { resultRepository } from '../../src/delivery/result-repository.js'
import { type Database, openPool, sqlRows } from '../../src/storage/database.js'
import { dropOldDays, ensureDayPartition, ensureDayPartitions } from '../../src/storage/partitions.js'
import { createStreamMatcher, type MatchableEvent } from '../../src/streams/stream-matching.js'
import type { HubProcess } from '../../test/support/hub-process.js'
import { monotonicMs } from '../monotonic.js'
import { measureParts } from '../process-usage.js'
import { median, quantile } from '../statistics.js'
import { COMPLEX_SUBJECT, type Filled, type Probes, SIMPLE_SUBJECT } from './fill.js'
import { TYPES, type World } from './world.js'

export type Figures = Readonly<Record<string, number>>

export interface MeasureContext {
  readonly world: World
  readonly probes: Probes
  readonly filled: Filled
  /** Events of one measurement. */
  readonly events: number
  /** Of an operator, and of the receiver whose stream is polled. */
  readonly tokens: { readonly admin: string; readonly poll: string }
  /** Accepted with 202, and the endpoints that must have it. */
  readonly owed: Map<string, number>
}

const ARRIVAL_MS = 120_000
const ASK_MS = 60_000
const BETWEEN_EVENTS_MS = 40
let lastTxn = 0

export async function timed(work: () => Promise<unknown>): Promise<number> {
  const beganMs = performance.now()
  await work()
  return performance.now() - beganMs
}

async function medianOf(times: number, work: () => Promise<unknown>): Promise<number> {
  const taken: number[] = []
  for (let time = 0; time < times; time += 1) taken.push(await timed(work))
  return median(taken)
}

/** Pushes one SET at a hub (RFC 8935). Answers its `txn` and when it was sent, on the monotonic clock. */
export async function send(
  { world, owed }: MeasureContext,
  hub: HubProcess,
  event: { type: string; subject?: object; reaches: number },
): Promise<{ txn: string; sentMs: number }> {
  lastTxn += 1
  const txn = `scale-${lastTxn}`
  const subject = event.subject ?? { format: 'email', email: `user-${lastTxn}@scale.example` }
  const set = world.source.signSet({ type: event.type, txn, subject })
  const sentMs = monotonicMs()
  const response = await fetch(hub.url + world.ingestPath, {
    method: 'POST',
    headers: { 'content-type': 'application/secevent+jwt', accept: 'application/json' },
    body: set,
    signal: AbortSignal.timeout(ASK_MS),
  })
  const text = await response.text()
  if (response.status !== 202) throw new Error(`the hub answered ${response.status}: ${text}`)
  owed.set(txn, event.reaches)
  return { txn, sentMs }
}

/** Waits until an event has reached its endpoints. Answers latencies in ms, sorted. */
export async function arrivals(
  { world, owed }: MeasureContext,
  { txn, sentMs }: { txn: string; sentMs: number },
): Promise<number[]> {
  const expected = owed.get(txn) ?? 0
  const end = monotonicMs() + ARRIVAL_MS
  while (world.endpoints.arrivalsOf(txn).size < expected) {
    if (monotonicMs() > end)
      throw new Error(`${txn} reached ${world.endpoints.arrivalsOf(txn).size} of ${expected} endpoints`)
    await sleep(2)
  }
  return [...world.endpoints.arrivalsOf(txn).values()].map((atMs) => atMs - sentMs).sort((a, b) => a - b)
}

/** The statement that says which streams take an event, as fan-out runs it, alone on its connection. */
export async function measureMatching(context: MeasureContext): Promise<Figures> {
  const { world, probes, events } = context
  const db = openPool(world.postgres.urlOf('scale'), { name: 'bench', max: 1, lookupsOnly: true })
  const match = createStreamMatcher({ hmac: probes.hmac, subjectRemovalGraceS: 0 })
  const event = (type: string, subject: MatchableEvent['subject']) => [
    {
      event: {
        eventId: 'e',
        type,
        sourceId: '00000000-0000-4000-8000-000000000001',
        subject,
      } as MatchableEvent,
    },
  ]
  const cases = {
    match_type_ms: event(TYPES.one, { format: 'email', email: 'nobody@scale.example' }),
    match_simple_ms: event(TYPES.filtered, SIMPLE_SUBJECT),
    match_complex_ms: event(TYPES.filtered, COMPLEX_SUBJECT),
    match_nobody_ms: event(TYPES.filtered, { format: 'email', email: 'nobody@scale.example' }),
  }
  const figures: Record<string, number> = {}
  const cpuBefore = postgresCpuMs(world)
  let calls = 0
  try {
    for (const [name, batch] of Object.entries(cases)) {
      const found = await match(db, batch)
      const expected = name === 'match_nobody_ms' ? 0 : 1
      if (found.length !== expected)
        throw new Error(`${name}: ${found.length} streams matched, not ${expected}`)
      for (let warm = 0; warm < 10; warm += 1) await match(db, batch)
      figures[name] = await medianOf(events, () => match(db, batch))
      calls += events + 11
    }
  } finally {
    await db.destroy()
  }
  return { ...figures, match_postgres_cpu_ms: (postgresCpuMs(world) - cpuBefore) / calls }
}

/** One event to one endpoint: by type, and by a subject in a filter that the hub itself wrote. */
export async function measureOneStream(context: MeasureContext): Promise<Figures> {
  const { world, events } = context
  for (let warm = 0; warm < 5; warm += 1)
    await arrivals(context, await send(context, world.hub, { type: TYPES.one, reaches: 1 }))
  const before = cpuMs(world)
  const byType: number[] = []
  const byFilter: number[] = []
  for (let number = 0; number < events; number += 1) {
    const plain = await send(context, world.hub, { type: TYPES.one, reaches: 1 })
    byType.push(...(await arrivals(context, plain)))
    const subject = number % 2 === 0 ? SIMPLE_SUBJECT : COMPLEX_SUBJECT
    const filtered = await send(context, world.hub, { type: TYPES.filtered, subject, reaches: 1 })
    byFilter.push(...(await arrivals(context, filtered)))
    await sleep(BETWEEN_EVENTS_MS)
  }
  const after = cpuMs(world)
  byType.sort((a, b) => a - b)
  byFilter.sort((a, b) => a - b)
  return {
    one_p50_ms: quantile(byType, 0.5),
    one_p99_ms: quantile(byType, 0.99),
    filter_p50_ms: quantile(byFilter, 0.5),
    filter_p99_ms: quantile(byFilter, 0.99),
    event_hub_cpu_ms: (after.hub - before.hub) / (2 * events),
    event_postgres_cpu_ms: (after.postgres - before.postgres) / (2 * events),
  }
}

/** One event to every stream without a filter. Polled ones are acknowledged behind the hub's back. */
export async function measureAllStreams(context: MeasureContext): Promise<Figures> {
  const { world, filled } = context
  const runs: number[][] = []
  const before = cpuMs(world)
  for (let run = 0; run < 3; run += 1) {
    const sent = await send(context, world.hub, { type: TYPES.all, reaches: filled.plainPush })
    runs.push(await arrivals(context, sent))
    await sleep(500)
  }
  const after = cpuMs(world)
  const [polled] = await sqlRows<{ n: number }>(
    world.db,
    `with gone as (delete from delivery_queue q using streams s where s.stream_id = q.stream_id and s.delivery_method = 'poll'
       and q.type = ? returning 1) select count(*) as n from gone`,
    [TYPES.all],
  )
  const deliveries = 3 * filled.plainPush + (polled?.n ?? 0)
  return {
    all_push_streams: filled.plainPush,
    all_first_ms: median(runs.map((run) => run[0] ?? Number.NaN)),
    all_p50_ms: median(runs.map((run) => quantile(run, 0.5))),
    all_last_ms: median(runs.map((run) => run.at(-1) ?? Number.NaN)),
    all_hub_cpu_us: ((after.hub - before.hub) * 1000) / deliveries,
    all_postgres_cpu_us: ((after.postgres - before.postgres) * 1000) / deliveries,
  }
}

/** Polls of 100 with the acks of the poll before (RFC 8936 §2.4). */
export async function measurePoll(context: MeasureContext): Promise<Figures & { acknowledged: number }> {
  const { world, probes, tokens } = context
  const poll = async (ack: readonly string[]): Promise<string[]> => {
    const response = await fetch(`${world.hub.url}/ssf/poll/${probes.poll.streamId}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${tokens.poll}`, 'content-type': 'application/json' },
      body: JSON.stringify({ maxEvents: 100, returnImmediately: true, ack }),
      signal: AbortSignal.timeout(ASK_MS),
    })
    const text = await response.text()
    if (response.status !== 200) throw new Error(`the poll was answered ${response.status}: ${text}`)
    return Object.keys((JSON.parse(text) as { sets: object }).sets)
  }
  let ack = await poll([])
  let acknowledged = 0
  const taken: number[] = []
  for (let round = 0; round < 5; round += 1) {
    const given = ack
    taken.push(
      await timed(async () => {
        ack = await poll(given)
      }),
    )
    acknowledged += given.length
    if (ack.length !== 100) throw new Error(`a poll brought ${ack.length} SETs, not 100`)
  }
  return { poll_100_ms: median(taken), acknowledged }
}

const LISTS = {
  list_transmitters_ms: '/v1/transmitters',
  list_receivers_ms: '/v1/receivers',
  list_streams_ms: '/v1/streams',
  list_events_ms: '/v1/events',
  list_deliveries_ms: '/v1/deliveries',
  list_queued_ms: '/v1/deliveries?state=queued',
  list_parked_ms: '/v1/parked',
  list_alerts_ms: '/v1/alerts',
  list_audit_ms: '/v1/audit',
  time_to_revoke_ms: '/v1/time-to-revoke?group_by=stream',
} as const

/** First pages of the operators' lists, then what machines ask all the time. */
export async function measureAnswers({ world, tokens }: MeasureContext): Promise<Figures> {
  const figures: Record<string, number> = {}
  const ask = async (url: string, token?: string): Promise<string> => {
    const response = await fetch(url, {
      ...(token !== undefined && { headers: { authorization: `Bearer ${token}` } }),
      signal: AbortSignal.timeout(ASK_MS),
    })
    const text = await response.text()
    if (response.status !== 200) throw new Error(`${url} answered ${response.status}: ${text.slice(0, 200)}`)
    return text
  }
  for (const [name, path] of Object.entries(LISTS))
    figures[name] = await medianOf(3, () => ask(world.hub.url + path, tokens.admin))
  figures.ready_ms = await medianOf(3, () => ask(`${world.hub.managementUrl}/health/ready`))
  figures.metrics_ms = await medianOf(3, () => ask(`${world.hub.managementUrl}/metrics`))
  const metrics = await ask(`${world.hub.managementUrl}/metrics`)
  const megabytes = (name: string): number =>
    Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(metrics)?.[1] ?? Number.NaN) / 1_048_576
  figures.rss_mb = megabytes('process_resident_memory_bytes')
  figures.heap_mb = megabytes('nodejs_heap_size_used_bytes')
  figures.metrics_kb = metrics.length / 1024
  return figures
}

/** What upkeep does each hour in the tables that grow, with one old day to drop. */
export async function measureUpkeep({ world: { db } }: MeasureContext): Promise<Figures> {
  await ensureDayPartition(db, new Date(Date.now() - 40 * 86_400_000).toISOString().slice(0, 10))
  const round = async (): Promise<void> => {
    await ensureDayPartitions(db)
    await resultRepository.expireOpen(db, 90)
    const dropped = await dropOldDays(db, {
      dedupeWindowDays: 14,
      retentionDays: 30,
      contentRetentionDays: 30,
    })
    if (dropped.length !== 4) throw new Error(`upkeep dropped ${dropped.join(', ')}`)
  }
  return { upkeep_ms: await timed(round) }
}

/** What the hub gave on to the database since the last reset, the costliest first. */
export interface StatementCost {
  readonly calls: number
  readonly meanMs: number
  readonly rowsPerCall: number
  /** Pages of 8 KB that a call read, from memory or disk. */
  readonly pagesPerCall: number
  readonly text: string
}

export async function costliestStatements(db: Database): Promise<StatementCost[]> {
  const rows = await sqlRows<{ calls: number; mean: number; rows: number; pages: number; query: string }>(
    db,
    `select calls, mean_exec_time as mean, rows::float8 / calls as rows,
       (shared_blks_hit + shared_blks_read)::float8 / calls as pages, query
     from pg_stat_statements
     where toplevel and dbid = (select oid from pg_database where datname = current_database())
     order by total_exec_time desc limit 25`,
  )
  return rows.map((row) => ({
    calls: row.calls,
    meanMs: row.mean,
    rowsPerCall: row.rows,
    pagesPerCall: row.pages,
    text: row.query.replace(/\s+/g, ' ').trim(),
  }))
}

function cpuMs({ hub, postgresPid }: World): { hub: number; postgres: number } {
  const usage = measureParts({ hub: hub.pid(), ...(postgresPid && { postgres: postgresPid }) })
  return { hub: usage.hub?.cpuMs ?? Number.NaN, postgres: usage.postgres?.cpuMs ?? Number.NaN }
}

const postgresCpuMs = (world: World): number => cpuMs(world).postgres
