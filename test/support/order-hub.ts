import { createDelivery, type Delivery } from '../../src/delivery/delivery-service.js'
import type { EventLog, TransactionalLog } from '../../src/eventlog/event-log.js'
import type { Clock } from '../../src/kernel/clock.js'
import { newId } from '../../src/kernel/ids.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createMetrics } from '../../src/kernel/metrics.js'
import type { Worker } from '../../src/kernel/worker.js'
import { createKeyService, type KeyService } from '../../src/keys/key-service.js'
import { createOutgoing } from '../../src/outgoing/outgoing.js'
import { LANES, type Lane } from '../../src/secevent/event.js'
import { type Database, openPool } from '../../src/storage/database.js'
import type { LeaseSet } from '../../src/storage/leases.js'
import { createNotifier, type Notifier } from '../../src/storage/notifier.js'
import { ensureDayPartition } from '../../src/storage/partitions.js'
import { createStreamMatcher } from '../../src/streams/stream-matching.js'
import { createTestSlots, type TestSlots } from '../eventlog/log-fixtures.js'

export const ISSUER = 'http://127.0.0.1:8080'

export interface LogParts {
  readonly keys: KeyService
  readonly clock: Clock
  readonly slots: TestSlots
  readonly notifier: Notifier
  readonly pools: Readonly<Record<Lane | 'api', Database>>
  /** Not the same for two test worlds. */
  readonly topicPrefix: string
}

/** An event log as one process opens it, and the way for what the hub itself decides. */
export interface OpenedLog {
  readonly log: EventLog
  readonly transactional: TransactionalLog
}

/** What a hub process is to the order of events: its log, fan-out, sender and polls, on pools of its own. */
export interface OrderHub {
  readonly db: Database
  readonly delivery: Delivery
  readonly log: EventLog
  readonly transactional: TransactionalLog
  /** Resolves when no attempt is under way, its signature included. */
  quiet(): Promise<void>
  stop(): Promise<void>
}

export async function startOrderHub(options: {
  databaseUrl: string
  clock: Clock
  topicPrefix: string
  ownsSlot(slot: number): boolean
  leases(db: Database): LeaseSet
  attemptTimeoutMs?: number
  openLog(parts: LogParts): OpenedLog
}): Promise<OrderHub> {
  const { clock } = options
  const db = openPool(options.databaseUrl, { name: 'order', max: 16 })
  const pools = { control: db, urgent: db, routine: db, polls: db, api: db, system: db }
  const keys = await createKeyService({ db, clock, leadMs: 3_600_000, logger: silentLogger })
  const notifier = createNotifier({ url: options.databaseUrl, logger: silentLogger })
  const slots = createTestSlots()
  slots.set([...slots.owned().keys()].filter(options.ownsSlot))
  const outgoing = createOutgoing({ allowedNetworks: ['127.0.0.0/8'] })
  const leases = options.leases(db)
  const underWay = createCounter()
  const { log, transactional } = options.openLog({ ...options, keys, slots, notifier, pools })
  const delivery = createDelivery({
    pools,
    leases,
    hints: notifier,
    keys: {
      ...keys,
      setSigner: (alg) => {
        const signer = keys.setSigner(alg)
        return { ...signer, sign: (claims) => underWay.during(() => signer.sign(claims)) }
      },
    },
    match: createStreamMatcher({ hmac: (text) => keys.hmac('subject', text), subjectRemovalGraceS: 0 }),
    post: (request) => underWay.during(() => outgoing.request(request)),
    issuer: ISSUER,
    clock,
    logger: silentLogger,
    metrics: createMetrics(),
    attemptTimeoutMs: options.attemptTimeoutMs ?? 5_000,
    concurrency: 8,
    // Few, so that the table is the queue again and again.
    waitingLimits: {
      inAll: { sets: 150, bytes: 1e6 },
      perStream: { sets: 50, bytes: 1e6 },
      guaranteed: { sets: 10, bytes: 1e6 },
    },
    holdMs: 300,
    dedupeWindowDays: 14,
    ensureDay: (day) => ensureDayPartition(db, day),
    touchStream: async () => {},
    onReceived() {},
    onVerified: async () => {},
  })
  await notifier.start()
  await log.start()
  const workers: Worker[] = [
    leases,
    delivery.sender,
    ...LANES.map((lane) => log.subscribe(lane, delivery.fanOut[lane])),
  ]
  for (const worker of workers) await worker.start()
  return {
    db,
    delivery,
    log,
    transactional,
    quiet: underWay.none,
    async stop() {
      for (const worker of workers.reverse()) await worker.stop()
      await log.close()
      await notifier.stop()
      await outgoing.close()
      await db.destroy()
    },
  }
}

function createCounter() {
  let count = 0
  return {
    async during<T>(work: () => Promise<T>): Promise<T> {
      count += 1
      try {
        return await work()
      } finally {
        count -= 1
      }
    },
    async none(): Promise<void> {
      // A whole turn of the loop without any: between signing and sending there are only microtasks.
      for (let free = 0; free < 3; free = count === 0 ? free + 1 : 0) {
        await new Promise((resolve) => setImmediate(resolve))
      }
    },
  }
}

export const newTopicPrefix = (): string => `order-${newId().slice(0, 13)}`
