import assert from 'node:assert/strict'
import { newId } from '../../src/kernel/ids.js'
import { type LogFields, silentLogger } from '../../src/kernel/logger.js'
import type { SecurityEvent } from '../../src/secevent/event.js'
import { CAEP, SSF } from '../../src/secevent/event-types.js'
import { createStreamReadModel } from '../../src/streams/stream-read-model.js'
import { createStreamRepository } from '../../src/streams/stream-repository.js'
import { waitUntil } from '../support/wait.js'
import { type DeliveryHarness, type Sink, startDelivery, startSink } from './delivery-harness.js'

const HOUR_MS = 3_600_000
const compliance = (current: string) => ({
  type: CAEP.deviceComplianceChange,
  claims: { previous_status: 'compliant', current_status: current },
})

describe('a stream whose endpoint does nothing but fail', () => {
  let hub: DeliveryHarness
  let sink: Sink
  let receiverId: string
  let streamId: string
  let warned: (LogFields & { event: string })[]

  beforeEach(async () => {
    warned = []
    hub = await startDelivery({
      logger: { ...silentLogger, warn: (event, fields) => void warned.push({ event, ...fields }) },
      failing: { pauseAfterMs: 24 * HOUR_MS, probeEveryMs: 150, reviveEveryMs: 200 },
    })
    sink = await startSink()
    receiverId = await hub.addReceiver()
    streamId = await hub.addStream({ receiverId, endpointUrl: sink.url })
  })
  afterEach(async () => {
    await hub.close()
    await sink.close()
  })

  const answers = (status: number) => {
    sink.answer = (_request, res) => void res.writeHead(status).end()
  }
  const stream = async () => {
    const found = await createStreamReadModel(hub.db).find(streamId)
    assert.ok(found)
    return found
  }
  const isStatus = (status: string) =>
    waitUntil(`the stream to be ${status}`, async () => (await stream()).status === status)
  const onRecord = (failure: string) =>
    waitUntil(`${failure} on record`, async () => {
      const { failing } = await stream()
      return failing?.class === failure ? failing : undefined
    })
  /** As if it had failed that much longer already. */
  const backdate = (hours: number) =>
    hub.rows(
      `update stream_failures set failing_since = failing_since - make_interval(mins => ?::int),
         class_since = class_since - make_interval(mins => ?::int)`,
      [hours * 60, hours * 60],
    )
  const typesSent = () => sink.received.map(({ claims }) => Object.keys(claims.events)[0])
  const notices = () =>
    sink.received.flatMap(({ claims }) => {
      const said = claims.events[SSF.streamUpdated]
      return said ? [said.status] : []
    })
  /** Of two subjects: what one SET alone is answered says little about its endpoint. */
  const two = () => [hub.event(), hub.event({ subject: { format: 'email', email: 'bob@example.com' } })]
  const audited = async () =>
    (
      await hub.rows<{ actor: string; action: string; detail: { cause?: string; reason?: string } }>(
        'select actor, action, detail from audit_log where target = ? order by at',
        [`stream:${streamId}`],
      )
    ).map(({ actor, action, detail }) => [actor, action, detail.cause])

  it('is shown to operators with class, reason, since when and how often, until it answers', async () => {
    answers(503)
    assert.equal((await stream()).failing, null)
    await hub.fanOut([hub.event()])
    const failing = await onRecord('server_error')
    assert.equal(failing.reason, 'answered 503')
    assert.ok(failing.failures >= 3)
    assert.ok(Date.parse(failing.since) <= Date.parse(failing.last_failed_at))
    assert.match(await hub.metrics(), /^firebreak_failing_endpoints\{failure="server_error"\} 1$/m)
    const [row] = await hub.rows<{ last_failure: string }>('select last_failure from delivery_queue')
    assert.equal(row?.last_failure, 'server_error: answered 503')
    answers(202)
    await waitUntil('the record to go', async () => (await stream()).failing === null)
    assert.match(await hub.metrics(), /^firebreak_failing_endpoints\{failure="server_error"\} 0$/m)
    assert.equal((await stream()).status, 'enabled')
  })

  it('is paused at once by 410, keeps its events, and comes back when its notice is taken (SSF 1.0 §8.1.5)', async () => {
    answers(410)
    const [event, other] = two() as [SecurityEvent, SecurityEvent]
    await hub.fanOut([event, other])
    await isStatus('paused')
    const paused = await stream()
    assert.deepEqual([paused.status_by, paused.status_cause], ['hub', 'failing'])
    assert.match(paused.status_reason ?? '', /says that it is gone \(answered 410\)/)
    assert.equal(paused.failing?.class, 'gone')
    await waitUntil('the notice to be tried', () => notices().includes('paused'))
    const sentBefore = typesSent().filter((type) => type === event.type).length
    await waitUntil('more tries of it', () => notices().length >= 3)
    assert.equal(
      typesSent().filter((type) => type === event.type).length,
      sentBefore,
      'nothing but the notice',
    )
    assert.ok((await stream()).open_deliveries >= 3, 'the events and the notice')
    await hub.restart()

    answers(202)
    await isStatus('enabled')
    // The notice of the enabling comes by the log, so that for a moment nothing at all may be open.
    await waitUntil('the notice of it', () => notices().includes('enabled'))
    await waitUntil('all of it', async () => (await stream()).open_deliveries === 0)
    await waitUntil('the word of it', () => notices().includes('enabled'))
    assert.deepEqual([...new Set(notices())], ['paused', 'enabled'])
    assert.ok(typesSent().includes(event.type))
    assert.deepEqual(await audited(), [
      ['hub', 'stream.paused', 'failing'],
      ['hub', 'stream.enabled', undefined],
    ])
    await waitUntil('the record to go', async () => (await stream()).failing === null)
    assert.equal((await stream()).status_cause, null)
  })

  it('is paused after five minutes of refused authorization, which another process counts on from the record', async () => {
    answers(401)
    await hub.fanOut([hub.event()])
    const { class_since: since } = await onRecord('unauthorized')
    await hub.restart()
    const triesBefore = sink.received.length
    await waitUntil('a try after the takeover', () => sink.received.length > triesBefore)
    assert.equal((await stream()).status, 'enabled')
    assert.equal((await stream()).failing?.class_since, since, 'known to the process that took over')
    await hub.restart()
    await backdate(0.1)
    await hub.restart()
    await isStatus('paused')
    assert.match((await stream()).status_reason ?? '', /has refused the stream's authorization_header since/)
  })

  it('is paused after the time set of any failures, and not before', async () => {
    await sink.close()
    await hub.fanOut([hub.event()])
    await onRecord('connect')
    await backdate(23.9)
    await hub.restart()
    const { failures } = await onRecord('connect')
    await waitUntil(
      'another failure',
      async () =>
        ((
          await hub.rows<{ attempts: number }>('select max(attempts)::int as attempts from delivery_queue')
        )[0]?.attempts ?? 0) > failures,
    )
    assert.equal((await stream()).status, 'enabled')
    await backdate(0.2)
    await hub.restart()
    await isStatus('paused')
    const { status_reason: reason, failing } = await stream()
    assert.match(reason ?? '', /^The endpoint has taken no event since /)
    assert.doesNotMatch(reason ?? '', /ECONN|connect/)
    assert.match(failing?.reason ?? '', /ECONNREFUSED/)
    assert.equal(failing?.class, 'connect')
  })

  it('has its time anew once its receiver has changed or enabled it', async () => {
    answers(503)
    await hub.fanOut([hub.event()])
    await onRecord('server_error')
    await backdate(30)
    await hub.rows('update streams set version = version + 1')
    await hub.restart()
    await waitUntil('the record of now', async () => {
      const since = (await stream()).failing?.since
      return since && Date.parse(since) > Date.now() - HOUR_MS
    })
    assert.equal((await stream()).status, 'enabled')
  })

  it('is taken back by its receiver or an operator, whatever its endpoint says, and is paused anew by it', async () => {
    answers(410)
    await hub.fanOut(two())
    await isStatus('paused')
    sink.received.length = 0
    answers(503)
    await hub.statuses.setStatus(receiverId, streamId, { status: 'enabled' })
    await waitUntil('the event to be tried', () => typesSent().includes(CAEP.sessionRevoked))
    assert.deepEqual([(await stream()).status, (await stream()).status_by], ['enabled', 'receiver'])
    answers(410)
    await isStatus('paused')
    await hub.statuses.setStatusByHub(streamId, 'enabled', 'mended', { by: 'operator' })
    answers(202)
    await waitUntil('all of it', async () => (await stream()).open_deliveries === 0)
    assert.equal((await stream()).status, 'enabled')
  })

  it('stays as a person or its receiver wants it', async () => {
    answers(410)
    await hub.fanOut(two())
    await isStatus('paused')
    await hub.statuses.setStatus(receiverId, streamId, { status: 'paused' })
    await hub.statuses.enableFailing(streamId)
    assert.equal((await stream()).status, 'paused', 'the receiver paused it')
    await hub.statuses.setStatusByHub(streamId, 'paused', 'maintenance', { by: 'operator' })
    await hub.statuses.enableFailing(streamId)
    assert.deepEqual([(await stream()).status, (await stream()).status_by], ['paused', 'operator'])
    await hub.statuses.setStatusByHub(streamId, 'enabled', undefined, { by: 'operator' })
    await hub.statuses.setStatusByHub(streamId, 'paused', 'silent', { cause: 'inactive' })
    await hub.statuses.enableFailing(streamId)
    assert.equal((await stream()).status, 'paused', 'the hub paused it, but not for failing')
    await hub.statuses.setStatus(receiverId, streamId, { status: 'disabled' })
    const late = await hub.statuses.setStatusByHub(streamId, 'paused', 'late', { cause: 'failing' })
    assert.deepEqual([late.changed, (await stream()).status], [false, 'disabled'])
    await hub.statuses.enableFailing(newId())
  })

  it('is not paused by what was seen before it was changed', async () => {
    const [row] = await hub.rows<{ version: number }>('select version from streams')
    const old = { cause: 'failing' as const, version: (row?.version ?? 0) - 1 }
    assert.equal((await hub.statuses.setStatusByHub(streamId, 'paused', 'old', old)).changed, false)
    assert.equal((await stream()).status, 'enabled')
  })

  it('goes on asking when a proxy answers the notice with a 400 that names no err', async () => {
    answers(410)
    await hub.fanOut(two())
    await isStatus('paused')
    answers(400)
    await onRecord('unexpected_status')
    assert.equal((await hub.rows('select 1 from parked')).length, 0)
    sink.answer = (request, res) =>
      SSF.streamUpdated in request.claims.events
        ? void res.writeHead(400).end('{"err":"invalid_request","description":"unknown type"}')
        : void res.writeHead(202).end()
    await isStatus('enabled')
    await waitUntil('the event', async () => (await stream()).open_deliveries === 0)
  })

  it('parks nothing while a gateway answers every SET with a plain 400, and counts no success', async () => {
    answers(400)
    await hub.fanOut(
      Array.from({ length: 6 }, (_, index) => hub.event({ subject: { format: 'opaque', id: `${index}` } })),
    )
    const { failures } = await onRecord('unexpected_status')
    assert.ok(failures >= 3)
    assert.equal((await hub.rows('select 1 from parked')).length, 0)
    answers(202)
    await waitUntil('all of it', async () => (await stream()).open_deliveries === 0)
    assert.equal((await hub.rows('select 1 from parked')).length, 0)
  })

  it('is not paused by one SET that alone is answered 410, as that is not the endpoint', async () => {
    const bad = hub.event()
    sink.answer = ({ claims }, res) => void res.writeHead(claims.txn === bad.txn ? 410 : 202).end()
    await hub.fanOut([bad])
    const tries = () => sink.received.filter(({ claims }) => claims.txn === bad.txn).length
    await waitUntil('some tries', () => tries() >= 3)
    const others = two()
    await hub.fanOut(others)
    await waitUntil('all else', async () => (await stream()).open_deliveries === 1)
    await waitUntil(
      'another try',
      (
        (before) => () =>
          tries() > before
      )(tries()),
    )
    assert.deepEqual([(await stream()).status, notices()], ['enabled', []])
    assert.equal((await hub.rows('select 1 from parked')).length, 0)
  })

  it('has another notice written when the one that asks its endpoint has expired', async () => {
    answers(410)
    await hub.fanOut(two())
    await isStatus('paused')
    await waitUntil('the notice to be tried', () => notices().length >= 1)
    await hub.rows('delete from delivery_queue where type = ?', [SSF.streamUpdated])
    await hub.rows("update streams set updated_at = now() - interval '299 seconds'")
    assert.equal(await hub.statuses.reviveFailing(() => {}), 0, 'it may be on its way')
    const told = sink.received.length
    await hub.rows("update streams set updated_at = now() - interval '301 seconds'")
    await waitUntil('another notice', () => sink.received.length > told)
    assert.equal(await hub.statuses.reviveFailing(() => {}), 0, 'one is enough')
    assert.deepEqual([...new Set(notices())], ['paused'])
    answers(202)
    await isStatus('enabled')
    await waitUntil('all of it', async () => (await stream()).open_deliveries === 0)
  })

  it('has another notice written though its receiver adds subjects all the time', async () => {
    answers(410)
    await hub.fanOut(two())
    await isStatus('paused')
    await waitUntil('the notice to be tried', () => notices().length >= 1)
    await hub.rows('delete from delivery_queue where type = ?', [SSF.streamUpdated])
    await hub.db.transaction(async (trx) => {
      await trx('streams').update({ updated_at: trx.raw("now() - interval '301 seconds'") })
      await createStreamRepository(trx).saveSubjectCount(streamId, 1)
    })
    await waitUntil(
      'another notice',
      async () =>
        (await hub.rows('select from delivery_queue where type = ?', [SSF.streamUpdated])).length > 0,
    )
  })

  it('is seen to though another, silent for longer, cannot be', async () => {
    const silent = async (seconds: number) => {
      const id = await hub.addStream({ receiverId, status: 'paused' })
      await hub.rows(
        `update streams set status_by = 'hub', status_cause = 'failing',
           updated_at = now() - make_interval(secs => ?::int) where stream_id = ?`,
        [seconds, id],
      )
      return id
    }
    await hub.rows(`create function refuse() returns trigger language plpgsql as
      $body$ begin raise exception 'no change of this one'; end $body$`)
    await hub.rows(`create trigger refuse before update of status on streams
      for each row when (old.status_reason = 'broken') execute function refuse()`)
    const broken = await silent(302)
    await hub.rows("update streams set status_reason = 'broken' where stream_id = ?", [broken])
    streamId = await silent(301)
    const failed: string[] = []
    await hub.statuses.reviveFailing((id, error) => {
      assert.match(String(error), /no change of this one/)
      failed.push(id)
    })
    assert.deepEqual(failed, [broken])
    await isStatus('enabled')
  })

  it('is enabled when it is polled now, though no word of that change came', async () => {
    answers(410)
    await hub.fanOut(two())
    await isStatus('paused')
    await hub.rows(`update streams set delivery_method = 'poll', endpoint_url = null, version = version + 1,
      updated_at = now() - interval '301 seconds'`)
    await isStatus('enabled')
  })

  it('fails no longer once nobody asks its endpoint: owed nothing any more, or stopped by its receiver', async () => {
    const isOver = async () =>
      (await stream()).failing === null &&
      /^firebreak_failing_endpoints\{failure="server_error"\} 0$/m.test(await hub.metrics())
    const fail = async () => {
      answers(503)
      await hub.fanOut([hub.event()])
      await onRecord('server_error')
    }
    await fail()
    await hub.rows('delete from delivery_queue')
    await waitUntil('the record of what is owed nothing to go', isOver)
    for (const status of ['paused', 'disabled'] as const) {
      await fail()
      await hub.statuses.setStatus(receiverId, streamId, { status })
      await waitUntil(`the record of what is ${status} to go`, isOver)
      await hub.statuses.setStatus(receiverId, streamId, { status: 'enabled' })
    }
    await fail()
    await hub.delivery.sender.stop()
    await hub.rows('delete from delivery_queue')
    await hub.restart()
    await waitUntil('what another process left on record to go', isOver)
    await fail()
    await hub.delivery.sender.stop()
    await hub.rows('delete from delivery_queue')
    await hub.rows('update streams set version = version + 1')
    await hub.restart()
    await waitUntil('what it left of the stream before a change to go', isOver)
  })

  it('is forgotten with its failures once it is deleted', async () => {
    answers(503)
    await hub.fanOut([hub.event()])
    await onRecord('server_error')
    await hub.rows('delete from delivery_queue')
    await hub.rows('delete from streams')
    await hub.delivery.streamChanged(streamId)
    await waitUntil('the count to fall', async () =>
      /^firebreak_failing_endpoints\{failure="server_error"\} 0$/m.test(await hub.metrics()),
    )
    assert.deepEqual(await hub.rows('select 1 from stream_failures'), [])
  })

  it('tries the notice again when enabling the stream did not become durable', async () => {
    answers(410)
    await hub.fanOut(two())
    await isStatus('paused')
    await hub.rows('alter table audit_log rename to hidden')
    const tries = notices().length
    answers(202)
    await waitUntil('the notice to be taken', () => notices().length >= tries + 2)
    assert.equal((await stream()).status, 'paused')
    const told = warned.find(({ event }) => event === 'stream.enable_failed')
    assert.equal(told?.stream_id, streamId)
    assert.match(String(told?.reason), /audit_log/)
    await hub.rows('alter table hidden rename to audit_log')
    await isStatus('enabled')
  })

  it('is left alone when it is polled', async () => {
    const polled = await hub.addStream({ receiverId })
    await hub.fanOut([hub.event()])
    await waitUntil('the pushed one', () => sink.received.length > 0)
    const found = await createStreamReadModel(hub.db).find(polled)
    assert.deepEqual([found?.status, found?.failing], ['enabled', null])
  })

  it('sends urgent before routine once it recovers, each subject in hub order, and nothing superseded', async () => {
    answers(503)
    const routine = Array.from({ length: 40 }, (_, index) =>
      hub.event({
        lane: 'routine',
        type: CAEP.sessionEstablished,
        subject: { format: 'email', email: `r${index % 4}@example.com` },
      }),
    )
    await hub.fanOut(routine)
    await onRecord('server_error')
    const subject = { format: 'email', email: 'u@example.com' }
    const stale = hub.event({ ...compliance('compliant'), subject })
    const urgent = Array.from({ length: 20 }, () => hub.event({ subject }))
    const control = hub.event({ lane: 'control' })
    await hub.fanOut([stale, ...urgent, control])
    sink.received.length = 0
    const went: string[] = []
    sink.answer = ({ claims }, res) => {
      went.push(claims.txn)
      res.writeHead(202).end()
    }
    await waitUntil('all of it', async () => (await stream()).open_deliveries === 0)
    const placeOf = ({ txn }: { txn: string }) => went.indexOf(txn)
    assert.equal(placeOf(stale), -1, 'overtaken')
    const urgentPlaces = urgent.map(placeOf)
    assert.deepEqual(
      urgentPlaces,
      [...urgentPlaces].sort((a, b) => a - b),
      'in hub order',
    )
    assert.ok(placeOf(control) <= 2, String(placeOf(control)))
    const firstRoutine = Math.min(...routine.map(placeOf))
    assert.ok(firstRoutine > Math.min(...urgentPlaces), 'urgent first')
    const [row] = await hub.rows<{ outcome: string }>('select outcome from deliveries where event_id = ?', [
      stale.eventId,
    ])
    assert.equal(row?.outcome, 'superseded')
  })
})
