import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto'
import type { Express } from 'express'
import request from 'supertest'
import {
  type AuthenticatedReceiver,
  type Operator,
  requireOperator,
  type Scope,
} from '../../src/auth/callers.js'
import { type Compatibility, toCompatibilityBody } from '../../src/auth/compatibility.js'
import type { Profile } from '../../src/auth/profile.js'
import { hashSecret } from '../../src/auth/secrets.js'
import type { TransactionalLog } from '../../src/eventlog/event-log.js'
import { createApp } from '../../src/http/app.js'
import { createClock } from '../../src/kernel/clock.js'
import { createEventIds, newId } from '../../src/kernel/ids.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createOutgoing } from '../../src/outgoing/outgoing.js'
import type { SecurityEvent } from '../../src/secevent/event.js'
import { type Database, sqlRows } from '../../src/storage/database.js'
import { createDefaultSubjects } from '../../src/streams/default-subjects.js'
import { eventTypeRouter } from '../../src/streams/event-type-router.js'
import { createEventTypeService } from '../../src/streams/event-type-service.js'
import { createFrameworkEvents } from '../../src/streams/framework-events.js'
import { ssfRouter } from '../../src/streams/ssf-router.js'
import type { StreamSettings } from '../../src/streams/stream.js'
import type { StreamKeys } from '../../src/streams/stream-collaborators.js'
import { createStreamMatcher, type MatchableEvent } from '../../src/streams/stream-matching.js'
import { streamOperatorRouter } from '../../src/streams/stream-operator-router.js'
import { createStreamReadModel } from '../../src/streams/stream-read-model.js'
import { createStreamService } from '../../src/streams/stream-service.js'
import { createStreamStatusService } from '../../src/streams/stream-status-service.js'
import { createSubjectService } from '../../src/streams/subject-service.js'
import { createVerificationService } from '../../src/streams/verification-service.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'

export const ISSUER = 'https://hub.example.com'
/** An id that nothing has. */
export const UNKNOWN_ID = '00000000-0000-4000-8000-000000000000'

const SETTINGS: StreamSettings = {
  issuer: ISSUER,
  maxStreamsPerReceiver: 1_000,
  minVerificationIntervalS: 0,
  maxSubjectsPerStream: 50,
  subjectRemovalGraceS: 0,
}

export interface TestReceiver {
  id: string
  audience: string
  /** Scope `ssf.manage`. */
  token: string
  /** Scope `ssf.read` alone. */
  readToken: string
}

export interface Grants {
  eventTypes?: string[]
  sources?: string[]
  defaultSubjects?: 'ALL' | 'NONE'
  compatibility?: Compatibility
  profile?: Profile
  inactivityTimeoutS?: number
}

/** A hub that runs elsewhere: calls go there, and the database and keys are its own. */
export interface OutsideHub {
  readonly url: string
  readonly adminToken: string
  readonly db: Database
  readonly keys: TestKeys
}

type TestKeys = StreamKeys & { open(sealed: Buffer, context: string): Buffer }

/** Real encryption with a key of this process. */
function createTestKeys(): TestKeys {
  const key = randomBytes(32)
  return {
    seal(plain, context) {
      const nonce = randomBytes(12)
      const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(context))
      const body = Buffer.concat([cipher.update(plain as string), cipher.final()])
      return Buffer.concat([nonce, cipher.getAuthTag(), body])
    },
    open(sealed, context) {
      const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12))
      decipher.setAAD(Buffer.from(context)).setAuthTag(sealed.subarray(12, 28))
      return Buffer.concat([decipher.update(sealed.subarray(28)), decipher.final()])
    },
    hmac: (_purpose, data) => createHmac('sha256', key).update(data).digest(),
  }
}

/** The whole room on a real Postgres, behind the real app shell, caller checks and address guard. */
export async function createSsfHarness(overrides: Partial<StreamSettings> = {}, outside?: OutsideHub) {
  const issuer = outside?.url ?? ISSUER
  const settings = { ...SETTINGS, issuer, ...overrides }
  const test = outside ?? { ...(await createTestDatabase()), keys: createTestKeys() }
  const { db, keys } = test
  // Names are taken once in a database, and suites share that of an outside hub.
  const mark = outside ? `-${newId()}` : ''
  const tokens = new Map<string, AuthenticatedReceiver>()
  const operators = new Map<string, Operator>(
    (['viewer', 'operator'] as const).map((role) => [role, { id: newId(), name: role, role }]),
  )
  const wakes: string[][] = []
  const log: TransactionalLog = {
    async appendIn(trx, events) {
      for (const event of events) {
        await sqlRows(trx, 'insert into event_log (lane, slot, event_id, record) values (1, ?, ?, ?)', [
          event.slot,
          event.eventId,
          JSON.stringify(event),
        ])
      }
    },
    wake: (lanes) => void wakes.push([...lanes]),
  }
  const observer = {
    confirms: true,
    changed: [] as string[],
    async streamChanged(streamId: string) {
      observer.changed.push(streamId)
      return observer.confirms
    },
  }
  const outgoing = createOutgoing({ allowedNetworks: ['127.0.0.0/8'] })
  const openWork = {
    async putHeldInOrder() {},
    async discard(trx: Database, streamId: string) {
      await sqlRows(trx, 'delete from delivery_queue where stream_id = ?', [streamId])
    },
  }
  const audit = {
    async record(trx: Database, entry: { actor: string; action: string; target?: string; detail?: object }) {
      await trx('audit_log').insert({ id: newId(), ...entry, detail: JSON.stringify(entry.detail ?? {}) })
    },
  }
  const clock = createClock()
  const events = createFrameworkEvents({
    issuer: settings.issuer,
    log,
    nextEventId: createEventIds(clock),
  })
  const streams = createStreamService({ db, settings, keys, outgoing, observer, openWork, events, audit })
  const types = createEventTypeService({
    db,
    audit,
    changed: async () => void (await streams.eventTypesChanged()),
  })
  const statuses = createStreamStatusService({ db, settings, events, observer, openWork, audit })
  const subjects = createSubjectService({ db, settings, keys })
  const verifications = createVerificationService({ db, events, settings, audit })
  const match = createStreamMatcher({
    hmac: (text) => keys.hmac('subject', text),
    subjectRemovalGraceS: settings.subjectRemovalGraceS,
  })
  const inside: Express = createApp({
    logger: silentLogger,
    mount(root) {
      root.use(
        ssfRouter({
          settings,
          defaultSubjects: createDefaultSubjects(db, clock),
          receivers: { authenticate: async (token) => tokens.get(token) },
          streams,
          statuses,
          subjects,
          verifications,
          jwks: () => ({ keys: [{ kty: 'RSA', kid: 'k1', use: 'sig', alg: 'RS256', n: 'AQAB', e: 'AQAB' }] }),
        }),
      )
      root.use(
        '/v1/event-types',
        eventTypeRouter({
          types,
          authorize: (permission) =>
            requireOperator({ authenticate: async (token) => operators.get(token) }, permission),
        }),
      )
      root.use(
        '/v1/streams',
        streamOperatorRouter({
          operators: { authenticate: async (token) => operators.get(token) },
          readModel: createStreamReadModel(db),
          statuses,
          verifications,
        }),
      )
    },
  })

  const app = outside?.url ?? inside

  async function addReceiver(plainName: string, grants: Grants = {}): Promise<TestReceiver> {
    const name = plainName + mark
    const receiver = {
      id: newId(),
      audience: `urn:${name}`,
      token: `${name}-manage`,
      readToken: `${name}-read`,
    }
    await db('receivers').insert({
      id: receiver.id,
      name,
      client_id: name,
      audience: receiver.audience,
      default_subjects: grants.defaultSubjects ?? 'ALL',
      grant_event_types: grants.eventTypes ?? null,
      grant_sources: grants.sources ?? null,
      profile: grants.profile ?? null,
      inactivity_timeout_s: grants.inactivityTimeoutS ?? null,
      compatibility: toCompatibilityBody(grants.compatibility ?? []),
    })
    const issue = (token: string, scope: Scope) =>
      tokens.set(token, {
        receiverId: receiver.id,
        clientId: name,
        audience: receiver.audience,
        scopes: [scope],
        name,
        defaultSubjects: grants.defaultSubjects ?? 'ALL',
        reports: [],
        grantEventTypes: grants.eventTypes ?? null,
        compatibility: grants.compatibility ?? [],
      })
    for (const [token, scope] of [
      [receiver.token, 'ssf.manage'],
      [receiver.readToken, 'ssf.read'],
    ] as const) {
      issue(token, scope)
      await db('receiver_tokens').insert({
        id: newId(),
        receiver_id: receiver.id,
        token_hash: hashSecret(token),
        scopes: [scope],
      })
    }
    return receiver
  }

  /** One call with a token; a body is sent as JSON. */
  function call(
    method: 'get' | 'post' | 'put' | 'patch' | 'delete',
    path: string,
    token: string,
    body?: object,
  ) {
    const pending = request(app)[method](path).set('Authorization', `Bearer ${token}`)
    return body === undefined ? pending : pending.send(body)
  }

  return {
    db,
    app,
    issuer: settings.issuer,
    /** Of an operator. */
    operatorToken: outside?.adminToken ?? 'viewer',
    keys,
    streams,
    statuses,
    subjects,
    verifications,
    observer,
    wakes,
    /** Which streams take which events, as fan-out asks. */
    match: (events: readonly MatchableEvent[]) =>
      match(
        db,
        events.map((event) => ({ event })),
      ),
    addReceiver,
    call,
    /** Creates a stream and answers its id. */
    async createStream(receiver: TestReceiver, body: object = {}): Promise<string> {
      const res = await call('post', '/ssf/streams', receiver.token, body)
      if (res.status !== 201) throw new Error(`stream not created: ${res.status} ${res.text}`)
      return (res.body as { stream_id: string }).stream_id
    },
    /** What was appended to the log, oldest first. */
    async logged(): Promise<SecurityEvent[]> {
      const rows = await sqlRows<{ record: string }>(db, 'select record from event_log order by id')
      return rows.map((row) => JSON.parse(row.record) as SecurityEvent)
    },
    /** One open delivery of a stream. */
    async queueDelivery(receiver: TestReceiver, streamId: string): Promise<void> {
      await sqlRows(
        db,
        `insert into delivery_queue (stream_id, lane, event_id, day, receiver_id, shard, type, effect, txn,
           source_id, accepted_at, expects)
         values (?, 1, ?, current_date, ?, 0, 't', 'neutral', 'x', ?, now(), 1)`,
        [streamId, newId(), receiver.id, newId()],
      )
    },
    async count(table: string, streamId: string): Promise<number> {
      const [row] = await db(table).where({ stream_id: streamId }).count({ n: '*' })
      return Number(row?.n ?? 0)
    },
    async close(): Promise<void> {
      await outgoing.close()
      // An outside hub is closed by whoever started it.
      if (!outside) await (test as TestDatabase).close()
    },
  }
}

export type SsfHarness = Awaited<ReturnType<typeof createSsfHarness>>
