import assert from 'node:assert/strict'
import { verifyAuditChain } from '../../src/audit/audit-chain.js'
import { createAuditSealer } from '../../src/audit/audit-sealer.js'
import { createAcknowledgementRepository } from '../../src/enforcement/acknowledgement-repository.js'
import { createTimeToRevokeReadModel } from '../../src/enforcement/time-to-revoke-read-model.js'
import { dayOf } from '../../src/kernel/clock.js'
import { silentLogger } from '../../src/kernel/logger.js'
import type { SecurityEvent, Subject } from '../../src/secevent/event.js'
import { CAEP } from '../../src/secevent/event-types.js'
import { parseSubject } from '../../src/secevent/subject.js'
import { waitUntil } from '../support/wait.js'
import { type DeliveryHarness, type Sink, startDelivery, startSink } from './delivery-harness.js'
import { addRelayRow, createErasureRig, type ErasureRig } from './erasure-rig.js'

/** One person under every format, with what must not be found any more. */
const IDENTIFIERS = [
  { format: 'email', email: 'canary.mail@example.com' },
  { format: 'phone_number', phone_number: '+12065550199' },
  { format: 'account', uri: 'acct:canary.account@example.com' },
  { format: 'iss_sub', iss: 'https://idp.example.com', sub: 'canary-sub-0001' },
  { format: 'opaque', id: 'canary-opaque-0001' },
  { format: 'did', url: 'did:example:canary-did-0001' },
  { format: 'uri', uri: 'https://canary.example.com/people/0001' },
  { format: 'jwt_id', iss: 'https://idp.example.com', jti: 'canary-jti-0001' },
  { format: 'saml_assertion_id', issuer: 'https://idp.example.com', assertion_id: 'canary-saml-0001' },
  { format: 'scim', uri: '/Agents/canary-scim-0001', externalId: 'canary-ext-0001' },
  { format: 'ip-addresses', 'ip-addresses': ['203.0.113.199'] },
]
const CANARY = /canary|2065550199|203\.0\.113\.199/gi
const PERSON = { format: 'aliases', identifiers: IDENTIFIERS }
const [MAIL = { format: '' }] = IDENTIFIERS
const OTHER = { format: 'email', email: 'somebody.else@example.com' }

describe('erasing a person', () => {
  let hub: DeliveryHarness
  let rig: ErasureRig
  let sink: Sink
  let receiverId: string

  beforeEach(async () => {
    hub = await startDelivery()
    rig = createErasureRig(hub)
    sink = await startSink()
    receiverId = await hub.addReceiver({ reports: ['applied'] })
  })
  afterEach(async () => {
    await sink.close()
    await hub.close()
  })

  const about = (subject: object, more: object = {}): SecurityEvent =>
    hub.event({ subject: parseSubject(subject), ...more })
  const erase = (more: { force?: boolean; subject?: object } = {}) =>
    rig.service.request(
      { subject: more.subject ?? PERSON, reason: 'request 7', force: more.force ?? false },
      'operator:ann',
    )
  const contentOf = async (event: SecurityEvent) => {
    const [row] = await hub.rows<{ content: Buffer | null; day: string }>(
      'select content, day from events where event_id = ?',
      [event.eventId],
    )
    return row?.content ? (await hub.keys.contentCipher(row.day)).open(row.content).toString() : undefined
  }
  const queued = async () =>
    Number((await hub.rows<{ n: number }>('select count(*)::int n from delivery_queue'))[0]?.n)
  const received = (events: readonly SecurityEvent[]) =>
    waitUntil('the SETs', async () => {
      const txns = new Set(sink.received.map(({ claims }) => claims.txn))
      return events.every(({ txn }) => txns.has(txn)) && (await queued()) === 0
    })

  it('leaves no identifier anywhere once everything owed is received, and changes no figure', async () => {
    const push = await hub.addStream({
      receiverId,
      endpointUrl: sink.url,
      types: [CAEP.sessionRevoked, CAEP.tokenClaimsChange],
    })
    const poll = await hub.addStream({
      receiverId: await hub.addReceiver(),
      types: [CAEP.sessionEstablished],
    })
    const events = [
      ...IDENTIFIERS.map((subject) => about(subject)),
      about({ format: 'complex', user: OTHER, device: MAIL }),
      about({ format: 'aliases', identifiers: [OTHER, ...IDENTIFIERS.slice(0, 3)] }),
      about(OTHER, { claims: { reason_admin: { en: 'reported by canary.mail@example.com.' } } }),
      about(OTHER, { type: CAEP.tokenClaimsChange, claims: { claims: { sub: 'canary-sub-0001' } } }),
    ]
    const quarantined = about(MAIL, { quarantine: 'invalid_payload', claims: { note: 'canary' } })
    const untouched = about(OTHER)
    const polled = about(MAIL, { type: CAEP.sessionEstablished })
    const forged = Buffer.from(JSON.stringify({ sub_id: MAIL })).toString('base64url')
    await hub.fanOut(
      [...events, quarantined, untouched],
      ['canary.mail@example.com is no SET', `e30.${forged}.c2ln`],
    )
    await received(events)
    await hub.rows("update deliveries set failure = 'no user canary.mail@example.com' where event_id = ?", [
      events[0]?.eventId,
    ])
    await hub.fanOut([polled])
    assert.equal(await queued(), 1, 'one for the poll stream')

    const reported = events[0] as SecurityEvent
    await createAcknowledgementRepository(hub.db).record([
      {
        receiverId,
        eventId: reported.eventId,
        acceptedAtMs: reported.acceptedAtMs,
        day: dayOf(reported.acceptedAtMs),
        streamId: push,
        status: 'applied',
        replica: 'r1',
        reason: 'sessions of canary.mail@example.com closed',
        reportedAtMs: reported.acceptedAtMs + 40,
      },
    ])
    const none = await hub.addReceiver()
    await hub.rows("update receivers set default_subjects = 'NONE' where id = ?", [none])
    const watching = await hub.addStream({ receiverId: none })
    for (const subject of [...IDENTIFIERS, { format: 'complex', user: OTHER, device: MAIL }, PERSON, OTHER]) {
      await rig.subjects.add(none, watching, parseSubject(subject), true)
    }
    await addRelayRow(hub.db, rig.nextEventId(), { sub_id: MAIL, events: {} })
    await addRelayRow(hub.db, rig.nextEventId(), {
      sub_id: OTHER,
      events: { x: { name: 'canary-opaque-0001' } },
    })
    await addRelayRow(hub.db, rig.nextEventId(), { sub_id: OTHER, events: {} })
    assert.ok((await rig.dump()).match(CANARY)?.length ?? 0 > 40)
    const figures = await timeToRevoke()

    const asked = await erase()
    await rig.work()
    const waiting = await rig.service.get(asked.id)
    assert.deepEqual([waiting.step, waiting.waits, waiting.held], ['held', true, 1])
    assert.equal(waiting.eventsErased, events.length + 1)
    assert.match((await contentOf(polled)) ?? '', /canary\.mail/)
    assert.equal(await contentOf(reported), undefined)
    assert.match((await contentOf(untouched)) ?? '', /somebody\.else/)

    await hub.rows('update delivery_queue set delivered_at = now()')
    const jti = hub.keys.jtis.mint(
      polled.eventId,
      (await hub.rows<{ receiver_id: string }>('select receiver_id from delivery_queue'))[0]?.receiver_id ??
        '',
    )
    const owner =
      (
        await hub.rows<{ receiver_id: string }>('select receiver_id from streams where stream_id = ?', [poll])
      )[0]?.receiver_id ?? ''
    const call = { aborted: new AbortController().signal, checkAccess: async () => {} }
    await hub.delivery.polls.poll(owner, poll, { ack: [jti], maxEvents: 0 }, call)
    await rig.work()
    const done = await rig.service.get(asked.id)
    assert.deepEqual([done.step, done.held, done.recordsErased], ['done', 0, 4])
    // The complex subject has a row per member.
    assert.equal(done.subjectsErased, IDENTIFIERS.length + 3)
    assert.deepEqual((await rig.dump()).match(CANARY) ?? [], [])

    const after = await timeToRevoke()
    assert.deepEqual(
      after.filter(({ streamId }) => streamId === push),
      figures.filter(({ streamId }) => streamId === push),
    )
    await createAuditSealer({ db: hub.db, lease: { get: () => undefined }, logger: silentLogger }).sealOnce()
    assert.equal((await verifyAuditChain(hub.db)).ok, true)
    const audited = await hub.rows<{ action: string; target: string }>(
      "select action, target from audit_log where action like 'subject.%' order by at",
    )
    const target = `subject:${done.subjectHash.toString('hex')}`
    assert.deepEqual(audited, [
      { action: 'subject.erase_requested', target },
      { action: 'subject.erased', target },
    ])

    // Who asked for events about the person still gets them, and new ones are kept as any other.
    const fresh = about(MAIL)
    const [match] = (await hub.rows<{ stream_id: string }>('select stream_id from stream_subjects')).slice(
      0,
      1,
    )
    assert.ok(match)
    await hub.fanOut([fresh])
    const owed = await hub.rows<{ stream_id: string }>(
      'select stream_id from delivery_queue where event_id = ?',
      [fresh.eventId],
    )
    assert.ok(owed.some(({ stream_id }) => stream_id === watching))
    assert.match((await contentOf(fresh)) ?? '', /canary\.mail/)
  })

  async function timeToRevoke() {
    const nowMs = Date.now() + 60_000
    const rows = await createTimeToRevokeReadModel(hub.db).query(
      { fromMs: nowMs - 3_600_000, toMs: nowMs, stage: 'applied', groupBy: ['stream'] },
      { nowMs, deadlineMs: 600_000, limit: 100 },
    )
    return rows
  }

  it('waits for a paused stream’s backlog, which still goes out with its subject', async () => {
    const stream = await hub.addStream({ receiverId, endpointUrl: sink.url, status: 'paused' })
    const event = about(MAIL)
    await hub.fanOut([event])
    const { id } = await erase()
    await rig.work()
    assert.equal((await rig.service.get(id)).held, 1)
    await hub.rows("update streams set status = 'enabled', version = version + 1 where stream_id = ?", [
      stream,
    ])
    await hub.delivery.streamChanged(stream)
    await received([event])
    const [set] = sink.received.map(({ claims }) => claims as { sub_id?: Subject })
    assert.deepEqual(set?.sub_id, MAIL)
    await rig.work()
    assert.equal((await rig.service.get(id)).step, 'done')
    assert.deepEqual((await rig.dump()).match(CANARY) ?? [], [])
  })

  it('waits for what a receiver refused, until somebody settles it', async () => {
    sink.answer = (_request, res) =>
      void res.writeHead(400).end('{"err":"access_denied","description":"who is canary.mail@example.com?"}')
    await hub.addStream({ receiverId, endpointUrl: sink.url })
    await hub.fanOut([about(MAIL)])
    await waitUntil('the refusal', async () => (await hub.rows('select 1 from parked')).length > 0)
    const { id } = await erase()
    await rig.work()
    assert.equal((await rig.service.get(id)).held, 1)
    await hub.rows(
      "update parked set resolved_at = now(), resolution = 'discarded: canary.mail@example.com left'",
    )
    await rig.work()
    assert.equal((await rig.service.get(id)).step, 'done')
    assert.deepEqual((await rig.dump()).match(CANARY) ?? [], [])
  })

  it('ends with force what is owed, and says what that was', async () => {
    await hub.addStream({ receiverId, endpointUrl: sink.url, status: 'paused' })
    await hub.addStream({ receiverId })
    sink.answer = (_request, res) => void res.writeHead(400).end('{"err":"invalid_request"}')
    await hub.addStream({ receiverId: await hub.addReceiver(), endpointUrl: sink.url })
    await hub.fanOut([about(MAIL)])
    await waitUntil('the refusal', async () => (await hub.rows('select 1 from parked')).length > 0)
    const { id } = await erase()
    await rig.work()
    assert.equal((await rig.service.get(id)).held, 1)
    const same = await erase({ force: true })
    assert.equal(same.id, id, 'the one under way goes on, with force')
    await rig.work()
    const done = await rig.service.get(id)
    assert.deepEqual([done.step, done.deliveriesDiscarded, done.eventsErased], ['done', 3, 1])
    assert.equal(await queued(), 0)
    const outcomes = await hub.rows<{ outcome: string }>('select outcome from deliveries')
    assert.deepEqual(
      outcomes.map(({ outcome }) => outcome),
      ['discarded', 'discarded', 'discarded'],
    )
    assert.deepEqual((await rig.dump()).match(CANARY) ?? [], [])
  })

  it('does not end with force what is about somebody else and only names the person', async () => {
    await hub.addStream({ receiverId, endpointUrl: sink.url, status: 'paused' })
    const theirs = about(MAIL)
    const anothers = about(OTHER, {
      claims: { reason_admin: { en: 'reported by canary.mail@example.com.' } },
    })
    await hub.fanOut([theirs, anothers])
    const { id } = await erase({ force: true })
    await rig.work()
    const waiting = await rig.service.get(id)
    assert.deepEqual([waiting.step, waiting.held, waiting.deliveriesDiscarded], ['held', 1, 1])
    const left = await hub.rows<{ event_id: string }>('select event_id from delivery_queue')
    assert.deepEqual(left, [{ event_id: anothers.eventId }])
  })

  it('waits until the log of before the request is fanned out, and goes on only where it leads', async () => {
    rig.state.drained = false
    const { id } = await erase()
    await rig.work()
    assert.deepEqual([(await rig.service.get(id)).step, (await rig.service.get(id)).waits], ['log', true])
    const late = about(MAIL)
    await hub.fanOut([late])
    rig.state.drained = true
    rig.state.leader = false
    await rig.work()
    assert.equal((await rig.service.get(id)).step, 'log')
    rig.state.leader = true
    await rig.work()
    assert.equal((await rig.service.get(id)).step, 'done')
    assert.ok(await contentOf(late), 'accepted after the request: kept as any other')
  })

  it('goes on where it stopped, however often and wherever it is started, and erases nothing twice', async () => {
    const events = Array.from({ length: 1_200 }, (_, index) => about(index % 3 === 0 ? MAIL : OTHER))
    for (let at = 0; at < events.length; at += 400) await hub.fanOut(events.slice(at, at + 400))
    const { id } = await erase()
    const [one, two] = [rig.newWorker(), rig.newWorker()]
    await Promise.all([one.start(), two.start()])
    await waitUntil('some progress', async () => (await rig.service.get(id)).eventsSeen > 0)
    await Promise.all([one.stop(), two.stop()])
    await rig.work()
    const done = await rig.service.get(id)
    assert.deepEqual([done.step, done.eventsSeen, done.eventsErased], ['done', 1_200, 400])
    const again = await erase()
    assert.notEqual(again.id, id)
    await rig.work()
    assert.deepEqual(
      [(await rig.service.get(again.id)).step, (await rig.service.get(again.id)).eventsErased],
      ['done', 0],
    )
  })

  it('keeps the identifiers under seal while it looks for them, and no longer', async () => {
    const { id } = await erase()
    const raw = async () => JSON.stringify(await hub.db('erasures').where({ id }).first())
    assert.doesNotMatch(await raw(), CANARY)
    assert.match(await rig.dump(), CANARY)
    await rig.work()
    assert.equal((await rig.service.get(id)).sealedIdentifiers, undefined)
  })
})
