import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createAuditLog } from '../../src/audit/audit-log.js'
import { type Compatibility, toCompatibilityBody } from '../../src/auth/compatibility.js'
import type { Profile } from '../../src/auth/profile.js'
import { createDelivery, type Delivery, type DeliveryOptions } from '../../src/delivery/delivery-service.js'
import type { LogBatch, LogItem, TransactionalLog } from '../../src/eventlog/event-log.js'
import { type AdjustableClock, createClock } from '../../src/kernel/clock.js'
import { createEventIds, newId } from '../../src/kernel/ids.js'
import { type Logger, silentLogger } from '../../src/kernel/logger.js'
import { createMetrics } from '../../src/kernel/metrics.js'
import { createKeyService } from '../../src/keys/key-service.js'
import { createOutgoing, type OutgoingOptions } from '../../src/outgoing/outgoing.js'
import { LANES, type SecurityEvent } from '../../src/secevent/event.js'
import { CAEP } from '../../src/secevent/event-types.js'
import { createSecurityEvent, type SecurityEventInput } from '../../src/secevent/security-event.js'
import { type Database, sqlRows } from '../../src/storage/database.js'
import { ensureDayPartition } from '../../src/storage/partitions.js'
import { createFrameworkEvents } from '../../src/streams/framework-events.js'
import { shardOf } from '../../src/streams/stream.js'
import { createStreamMatcher } from '../../src/streams/stream-matching.js'
import { createStreamStatusService } from '../../src/streams/stream-status-service.js'
import { createScriptedLeases, takeAllShards } from '../support/order-shards.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'

const ISSUER = 'http://127.0.0.1:8080'

export interface Received {
  readonly method: string | undefined
  readonly body: string
  readonly headers: IncomingHttpHeaders
  readonly claims: {
    jti: string
    txn: string
    aud: string
    sub_id: { format: string }
    events: Record<string, Record<string, unknown>>
  }
}

export interface Sink {
  readonly url: string
  readonly received: Received[]
  /** Decides each answer; default 202. */
  answer: (request: Received, res: ServerResponse) => void | Promise<void>
  close(): Promise<void>
}

/** A receiver's push endpoint. */
export async function startSink(): Promise<Sink> {
  const received: Received[] = []
  const server = createServer((req, res) => {
    const chunks: Buffer[] = []
    req.on('data', (chunk: Buffer) => chunks.push(chunk))
    req.on('end', () => {
      const body = Buffer.concat(chunks).toString('utf8')
      const claims = JSON.parse(Buffer.from(body.split('.')[1] ?? '', 'base64url').toString('utf8'))
      const request: Received = { method: req.method, body, headers: req.headers, claims }
      received.push(request)
      void Promise.resolve(sink.answer(request, res)).catch(() => res.destroy())
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const sink: Sink = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/events`,
    received,
    answer: (_request, res) => void res.writeHead(202).end(),
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return sink
}

export type DeliveryHarness = Awaited<ReturnType<typeof startDelivery>>

/** The delivery room on a real Postgres, with real HTTP out, fed by hand instead of a log. */
export async function startDelivery(
  options: {
    attemptTimeoutMs?: number
    logger?: Logger
    /** Streams are paused for failing; absent: never. */
    failing?: { pauseAfterMs: number; probeEveryMs: number; reviveEveryMs?: number }
    poolsOf?(url: string): Partial<DeliveryOptions['pools']>
    outgoing?: Partial<OutgoingOptions>
    clock?: AdjustableClock
    maxReady?: number
  } = {},
) {
  const database: TestDatabase = await createTestDatabase()
  const { db, url } = database
  const pools = options.poolsOf?.(url)
  const clock = options.clock ?? createClock()
  const keys = await createKeyService({ db, clock, leadMs: 3_600_000, logger: silentLogger })
  const outgoing = createOutgoing({ allowedNetworks: ['127.0.0.0/8'], ...options.outgoing })
  const leases = createScriptedLeases()
  await takeAllShards(db, leases)
  let metrics = createMetrics()
  const nextId = createEventIds(clock)
  const { log, decided } = createHandLog((events) => fanOut(events))
  const statuses = createStreamStatusService({
    db,
    events: createFrameworkEvents({ issuer: ISSUER, log, nextEventId: nextId }),
    observer: { streamChanged: (streamId) => delivery.streamChanged(streamId) },
    openWork: {
      discard: (...discarded) => delivery.discard(...discarded),
      putHeldInOrder: (...held) => delivery.putHeldInOrder(...held),
    },
    audit: createAuditLog(),
    settings: {},
  })
  const open = async (): Promise<Delivery> => {
    metrics = createMetrics()
    const delivery = createDelivery({
      pools: { control: db, urgent: db, routine: db, polls: db, api: db, system: db, ...pools },
      leases,
      hints: { notify() {}, on() {} },
      keys,
      match: createStreamMatcher({ hmac: (text) => keys.hmac('subject', text), subjectRemovalGraceS: 0 }),
      post: (request) => outgoing.request(request),
      issuer: ISSUER,
      clock,
      logger: options.logger ?? silentLogger,
      metrics,
      attemptTimeoutMs: options.attemptTimeoutMs ?? 2_000,
      concurrency: 8,
      waitingLimits: {
        inAll: { sets: 800, bytes: 1e8 },
        perStream: { sets: 500, bytes: 1e8 },
        guaranteed: { sets: 10, bytes: 1e6 },
      },
      holdMs: 5_000,
      dedupeWindowDays: 14,
      ensureDay: (day) => ensureDayPartition(db, day),
      touchStream: async () => {},
      onReceived() {},
      onVerified: async () => {},
      ...(options.maxReady !== undefined && { maxReady: options.maxReady }),
      ...(options.failing && {
        failing: {
          ...options.failing,
          async pause(streamId: string, version: number, reason: string) {
            await statuses.setStatusByHub(streamId, 'paused', reason, { cause: 'failing', version })
          },
          enable: (streamId: string) => statuses.enableFailing(streamId),
          revive: (failed) => statuses.reviveFailing(failed),
        },
      }),
    })
    await delivery.sender.start()
    return delivery
  }
  let delivery = await open()

  /** Fans events out as one batch per lane. */
  async function fanOut(events: readonly SecurityEvent[], rejected: readonly string[] = []): Promise<void> {
    for (const lane of LANES) {
      const items: LogItem[] = events.filter((event) => event.lane === lane).map((event) => ({ event }))
      if (lane === 'routine') {
        for (const record of rejected)
          items.push({ rejected: { reason: 'not_signed_by_hub', record: Buffer.from(record) } })
      }
      if (items.length === 0) continue
      const batch: LogBatch = {
        lane,
        from: 'postgres',
        items,
        checkOrder: async () => {},
        close: async () => {},
      }
      await delivery.fanOut[lane](batch)
    }
  }

  return {
    db,
    url,
    statuses,
    keys,
    leases,
    get delivery() {
      return delivery
    },
    /** What the process of now shows. */
    metrics: () => metrics.render(),
    /** One number of the process of now. */
    async metric(name: string): Promise<number> {
      const [, value] = new RegExp(`^${name} (\\S+)$`, 'm').exec(await metrics.render()) ?? []
      return Number(value ?? 0)
    },
    /** A new process: what was in memory is gone. */
    async restart() {
      await delivery.sender.stop()
      delivery = await open()
    },
    async close() {
      await delivery.sender.stop()
      await decided()
      await outgoing.close()
      await database.close()
    },
    addReceiver: (input: NewReceiver = {}) => addReceiver(db, input),
    addStream: (input: NewStream) => addStream(db, input),
    event: (input: Partial<SecurityEventInput> = {}): SecurityEvent =>
      createSecurityEvent({
        eventId: nextId(),
        acceptedAtMs: clock.now(),
        type: CAEP.sessionRevoked,
        subject: { format: 'email', email: 'alice@example.com' },
        claims: {},
        txn: newId(),
        sourceId: newId(),
        sourceIssuer: 'https://idp.example.com',
        sourceJti: newId(),
        ...input,
      }),
    fanOut,
    rows: <T>(sql: string, bindings: unknown[] = []) => sqlRows<T>(db, sql, bindings),
  }
}

/** A log that hands what is decided about streams to fan-out, once that is committed. */
function createHandLog(fanOut: (events: readonly SecurityEvent[]) => Promise<void>) {
  const appended: SecurityEvent[] = []
  let under = Promise.resolve()
  const log: TransactionalLog = {
    async appendIn(_trx, events) {
      appended.push(...events)
    },
    wake() {
      under = under.then(() => fanOut(appended.splice(0)))
    },
  }
  return { log, decided: () => under }
}

interface NewReceiver {
  reports?: string[]
  eventTypes?: string[]
  profile?: Profile
  compatibility?: Compatibility
  sources?: string[]
}

async function addReceiver(db: Database, input: NewReceiver): Promise<string> {
  const id = newId()
  await db('receivers').insert({
    id,
    name: `receiver ${id}`,
    client_id: id,
    audience: `${ISSUER}/receivers/${id}`,
    reports: input.reports ?? [],
    grant_event_types: input.eventTypes ?? null,
    profile: input.profile ?? null,
    compatibility: toCompatibilityBody(input.compatibility ?? []),
    grant_sources: input.sources ?? null,
  })
  return id
}

interface NewStream {
  receiverId: string
  endpointUrl?: string
  types?: string[]
  status?: string
}

async function addStream(db: Database, input: NewStream): Promise<string> {
  const streamId = newId()
  const types = input.types ?? [CAEP.sessionRevoked, CAEP.deviceComplianceChange, CAEP.sessionEstablished]
  await db('streams').insert({
    stream_id: streamId,
    receiver_id: input.receiverId,
    shard: shardOf(streamId),
    status: input.status ?? 'enabled',
    delivery_method: input.endpointUrl ? 'push' : 'poll',
    endpoint_url: input.endpointUrl ?? null,
    events_requested: types,
    events_delivered: types,
  })
  await db('stream_event_types').insert(types.map((type) => ({ event_type: type, stream_id: streamId })))
  return streamId
}
