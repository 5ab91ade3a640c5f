import { setTimeout as delay } from 'node:timers/promises'
import { newId } from '../../src/kernel/ids.js'
import { CAEP } from '../../src/secevent/event-types.js'
import type { Database } from '../../src/storage/database.js'
import { shardOf } from '../../src/streams/stream.js'
import { type Sink, startSink } from '../delivery/delivery-harness.js'
import { ISSUER, type OrderHub } from './order-hub.js'
import type { OrderLedger } from './order-ledger.js'

export const TYPES = {
  tightens: CAEP.sessionRevoked,
  loosens: CAEP.deviceComplianceChange,
  neutral: CAEP.sessionEstablished,
} as const

/** How the receivers behave just now; the plan changes it. */
export interface Mood {
  ledger: OrderLedger
  dice: () => number
  /** Everything is taken and acknowledged at once. */
  calm: boolean
}

export interface OrderStream {
  readonly id: string
  readonly receiverId: string
  /** Push answers 503, and a poller takes nothing, for so long. */
  fail(forMs: number): void
  /** The next SETs are refused for good (400, or setErrs). */
  reject(count: number): void
  /** Fails the test when its receiver met something it cannot understand. */
  check(): void
  close(): Promise<void>
}

export async function addReceiver(db: Database): Promise<string> {
  const id = newId()
  // ES256 signs ten times faster: the time goes to order, not to RSA.
  await db('receivers').insert({
    id,
    name: `receiver ${id}`,
    client_id: id,
    audience: `${ISSUER}/receivers/${id}`,
    signing_alg: 'ES256',
  })
  return id
}

/** Push when it has an endpoint, else poll. Takes every type that the plans use. */
export async function addStream(
  db: Database,
  receiverId: string,
  endpointUrl?: string,
  id: string = newId(),
): Promise<string> {
  const types = Object.values(TYPES)
  await db('streams').insert({
    stream_id: id,
    receiver_id: receiverId,
    shard: shardOf(id),
    status: 'enabled',
    delivery_method: endpointUrl ? 'push' : 'poll',
    endpoint_url: endpointUrl ?? null,
    events_requested: types,
    events_delivered: types,
  })
  await db('stream_event_types').insert(types.map((type) => ({ event_type: type, stream_id: id })))
  return id
}

interface Claims {
  readonly jti: string
  readonly txn: string
}

const claimsOf = (set: string): Claims =>
  JSON.parse(Buffer.from(set.split('.')[1] ?? '', 'base64url').toString('utf8'))

/** What a plan does to a receiver, and what its receiver could not understand. */
interface Faults {
  failUntil: number
  rejecting: number
  trouble: unknown
}

const noFaults = (): Faults => ({ failUntil: 0, rejecting: 0, trouble: undefined })

function toStream(
  ids: Pick<OrderStream, 'id' | 'receiverId'>,
  faults: Faults,
  close: () => Promise<void>,
): OrderStream {
  return {
    ...ids,
    fail(forMs) {
      faults.failUntil = Date.now() + forMs
    },
    reject(count) {
      faults.rejecting = count
    },
    check() {
      if (faults.trouble) throw faults.trouble
    },
    close,
  }
}

export async function addPushStream(db: Database, receiverId: string, mood: Mood): Promise<OrderStream> {
  const sink: Sink = await startSink()
  const id = await addStream(db, receiverId, sink.url)
  const faults = noFaults()
  sink.answer = async ({ claims }, res) => {
    const fails = !mood.calm && Date.now() < faults.failUntil
    const rejects = !mood.calm && !fails && faults.rejecting > 0
    if (rejects) faults.rejecting -= 1
    try {
      const { jti, txn } = claims
      mood.ledger.saw([{ stream: id, receiver: receiverId, txn, jti, taken: !fails && !rejects }])
    } catch (error) {
      faults.trouble = error
    }
    // A slow answer keeps the subject busy, so that others of it wait in the hub's memory.
    await delay(mood.calm ? 0 : mood.dice() * 25)
    if (rejects) {
      res
        .writeHead(400, { 'content-type': 'application/json' })
        .end('{"err":"invalid_request","description":"no"}')
    } else {
      res.writeHead(fails ? 503 : 202).end()
    }
  }
  return toStream({ id, receiverId }, faults, () => sink.close())
}

/** Polls without end, at one hub and then the other, and acknowledges in no order, some SETs only much later. */
export async function addPollStream(
  db: Database,
  receiverId: string,
  mood: Mood,
  hubs: readonly OrderHub[],
): Promise<OrderStream> {
  const id = await addStream(db, receiverId)
  const stop = new AbortController()
  const held = new Set<string>()
  const faults = noFaults()

  async function pollOnce(): Promise<void> {
    const hub = hubs[mood.dice() < 0.5 ? 0 : 1] as OrderHub
    const settled = [...held].filter(() => mood.calm || mood.dice() < 0.4).sort(() => mood.dice() - 0.5)
    const refused = mood.calm ? [] : settled.splice(0, Math.min(faults.rejecting, settled.length))
    faults.rejecting -= refused.length
    const request = {
      maxEvents: mood.calm ? 100 : 1 + Math.floor(mood.dice() * 6),
      ack: settled,
      setErrs: Object.fromEntries(refused.map((jti) => [jti, { err: 'invalid_request' }])),
    }
    const answer = await hub.delivery.polls.poll(receiverId, id, request, {
      aborted: stop.signal,
      checkAccess: async () => {},
    })
    for (const jti of [...settled, ...refused]) held.delete(jti)
    const seen = Object.values(answer.sets).map(claimsOf)
    for (const { jti } of seen) held.add(jti)
    mood.ledger.saw(seen.map(({ jti, txn }) => ({ stream: id, receiver: receiverId, txn, jti, taken: true })))
  }

  async function run(): Promise<void> {
    while (!stop.signal.aborted) {
      const restMs = mood.calm ? 5 : Math.max(mood.dice() * 20, faults.failUntil - Date.now())
      await delay(restMs)
      await pollOnce()
    }
  }

  const running = run().catch((error: unknown) => {
    faults.trouble = error
  })
  return toStream({ id, receiverId }, faults, async () => {
    stop.abort()
    await running
  })
}
