import type { Express } from 'express'
import request from 'supertest'
import { type ReceiverAuth, requireReceiver } from '../../src/auth/callers.js'
import { pollRouter } from '../../src/delivery/poll-router.js'
import { createApp } from '../../src/http/app.js'
import { createClock } from '../../src/kernel/clock.js'
import { createEventIds, newId } from '../../src/kernel/ids.js'
import { silentLogger } from '../../src/kernel/logger.js'
import type { SecurityEvent } from '../../src/secevent/event.js'
import { CAEP, RISC } from '../../src/secevent/event-types.js'
import { parseSubject } from '../../src/secevent/subject.js'
import { createFrameworkEvents } from '../../src/streams/framework-events.js'
import { ssfRouter } from '../../src/streams/ssf-router.js'
import type { StreamSettings } from '../../src/streams/stream.js'
import { createStreamService } from '../../src/streams/stream-service.js'
import {
  createStreamStatusService,
  type StreamStatusService,
} from '../../src/streams/stream-status-service.js'
import { createSubjectService } from '../../src/streams/subject-service.js'
import { createVerificationService } from '../../src/streams/verification-service.js'
import { type DeliveryHarness, startDelivery } from '../delivery/delivery-harness.js'
import { checkAgainstModel, type ModelRun } from './model/check-model.js'
import type { RealTransmitter } from './model/transmitter-commands.js'
import type { ModelReceiver } from './model/transmitter-model.js'

/** One takes access away, one gives it back. */
const TYPES = [CAEP.sessionRevoked, CAEP.sessionEstablished, RISC.optIn, RISC.accountEnabled]
const RECEIVERS: readonly ModelReceiver[] = [
  { defaultSubjects: 'ALL', granted: TYPES },
  { defaultSubjects: 'NONE', granted: TYPES },
  { defaultSubjects: 'ALL', granted: [CAEP.sessionRevoked] },
]
const RUNS = 60
const TIME_LIMIT_MS = 40_000

describe('SSF 1.0 §8.1 against a model of it', function () {
  this.timeout(120_000)
  let hub: DeliveryHarness
  let app: Express
  let own: SecurityEvent[]
  let statuses: StreamStatusService
  const tokens = new Map<string, Awaited<ReturnType<ReceiverAuth['authenticate']>>>()

  before(async () => {
    hub = await startDelivery()
    own = []
    app = mount()
  })
  after(() => hub.close())

  it('sends each stream exactly what it owes, in order, held while paused and dropped when disabled (property)', async () => {
    await checkAgainstModel(openRun, {
      types: TYPES,
      receivers: RECEIVERS,
      numRuns: RUNS,
      timeLimitMs: TIME_LIMIT_MS,
    })
  })

  /** Receivers of one run: what others left behind is nobody's. */
  async function openRun(): Promise<ModelRun> {
    const ids = await Promise.all(RECEIVERS.map(addReceiver))
    const real: RealTransmitter = {
      async call(receiver, method, path, body) {
        const send = request(app)[method as 'post'](path).set('Authorization', `Bearer ${ids[receiver]}`)
        const { status, body: answer } = await (body ? send.send(body) : send)
        return { status, body: answer }
      },
      async happen(type, subject) {
        const event = hub.event({ type, subject: parseSubject(subject) })
        await hub.fanOut([event])
        return event.txn
      },
      async operate(streamId, status) {
        await statuses.setStatusByHub(streamId, status, undefined, { by: 'operator', actor: 'operator:test' })
      },
      async settleOwn() {
        const said = own.splice(0)
        await hub.fanOut(said)
        return said.map(({ txn }) => txn)
      },
    }
    return { real, forget: async () => void (await hub.db('receivers').whereIn('id', ids).delete()) }
  }

  async function addReceiver({ defaultSubjects, granted }: ModelReceiver): Promise<string> {
    const id = await hub.addReceiver({ eventTypes: [...granted] })
    await hub.db('receivers').where({ id }).update({ default_subjects: defaultSubjects })
    tokens.set(id, {
      receiverId: id,
      clientId: id,
      audience: id,
      scopes: ['ssf.manage'],
      name: id,
      defaultSubjects,
      reports: [],
      grantEventTypes: [...granted],
      compatibility: [],
    })
    return id
  }

  function mount(): Express {
    const settings: StreamSettings = {
      issuer: 'https://hub.example.com',
      maxStreamsPerReceiver: 1_000,
      minVerificationIntervalS: 0,
      maxSubjectsPerStream: 1_000,
      subjectRemovalGraceS: 0,
    }
    const receivers: ReceiverAuth = { authenticate: async (token) => tokens.get(token) }
    const log = {
      async appendIn(_trx: unknown, events: readonly SecurityEvent[]) {
        own.push(...events)
      },
      wake() {},
    }
    const nextEventId = createEventIds(createClock())
    const events = createFrameworkEvents({ issuer: settings.issuer, log, nextEventId })
    const audit = {
      async record(trx: typeof hub.db, { actor, action }: { actor: string; action: string }) {
        await trx('audit_log').insert({ id: newId(), actor, action, detail: {} })
      },
    }
    const { db, keys, delivery } = hub
    const shared = { db, settings, keys, audit, events, observer: delivery, openWork: delivery }
    statuses = createStreamStatusService(shared)
    return createApp({
      logger: silentLogger,
      mount(root) {
        root.use(
          ssfRouter({
            settings,
            defaultSubjects: async () => 'ALL',
            receivers,
            streams: createStreamService({ ...shared, outgoing: { async checkUrl() {} } }),
            statuses,
            subjects: createSubjectService(shared),
            verifications: createVerificationService(shared),
            jwks: () => ({ keys: [] }),
          }),
        )
        const authorize = requireReceiver(receivers, 'ssf.read')
        const checkAccess = async () => {}
        root.use('/ssf/poll', pollRouter({ polls: delivery.polls, authorize, checkAccess }))
      },
    })
  }
})
