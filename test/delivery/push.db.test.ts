import assert from 'node:assert/strict'
import { createPublicKey, verify } from 'node:crypto'
import { CAEP, SSF } from '../../src/secevent/event-types.js'
import { waitUntil } from '../support/wait.js'
import { type DeliveryHarness, type Sink, startDelivery, startSink } from './delivery-harness.js'

const compliance = (status: 'compliant' | 'not-compliant') => ({
  type: CAEP.deviceComplianceChange,
  claims: { previous_status: status === 'compliant' ? 'not-compliant' : 'compliant', current_status: status },
})

describe('push delivery', () => {
  let hub: DeliveryHarness
  let sink: Sink
  let receiverId: string
  let streamId: string

  beforeEach(async () => {
    hub = await startDelivery()
    sink = await startSink()
    receiverId = await hub.addReceiver()
    streamId = await hub.addStream({ receiverId, endpointUrl: sink.url })
  })
  afterEach(async () => {
    await hub.close()
    await sink.close()
  })

  const openRows = async () =>
    Number((await hub.rows<{ n: number }>('select count(*) as n from delivery_queue'))[0]?.n)
  const outcomes = async () =>
    (await hub.rows<{ outcome: string }>('select outcome from deliveries order by event_id')).map(
      (row) => row.outcome,
    )

  it('sends the SET of RFC 8935, signed by the published key, and records it as received', async () => {
    const event = hub.event()
    await hub.fanOut([event])
    await waitUntil('the result', async () => (await outcomes()).length === 1)
    const [request] = sink.received
    assert.ok(request)
    assert.equal(request.headers['content-type'], 'application/secevent+jwt')
    assert.equal(request.headers.accept, 'application/json')
    assert.equal(request.headers.authorization, undefined)
    assert.equal(request.claims.txn, event.txn)
    assert.ok(request.claims.aud.endsWith(receiverId))
    const [header = '', payload = '', signature = ''] = request.body.split('.')
    const { kid } = JSON.parse(Buffer.from(header, 'base64url').toString('utf8')) as { kid: string }
    const jwk = hub.keys.setJwks().keys.find((key) => (key as { kid: string }).kid === kid)
    assert.ok(jwk)
    const key = createPublicKey({ key: jwk as never, format: 'jwk' })
    assert.ok(verify('sha256', Buffer.from(`${header}.${payload}`), key, Buffer.from(signature, 'base64url')))
    assert.deepEqual(await outcomes(), ['received'])
    assert.equal(await openRows(), 0)
  })

  it('gives a repeat no second effect, and a conflicting repeat neither', async () => {
    const event = hub.event()
    const conflicting = hub.event({
      sourceIssuer: event.sourceIssuer,
      sourceJti: event.sourceJti,
      claims: { initiating_entity: 'admin' },
    })
    await hub.fanOut([event, { ...event, eventId: hub.event().eventId }])
    await hub.fanOut([event])
    await hub.fanOut([conflicting])
    await waitUntil('the result', async () => (await outcomes()).length === 1)
    await hub.fanOut([hub.event()])
    await waitUntil('the marker', async () => (await outcomes()).length === 2)
    assert.equal(sink.received.length, 2)
  })

  it('keeps one jti per event and receiver through failed attempts, and counts them', async () => {
    sink.answer = (_request, res) => void res.writeHead(sink.received.length < 3 ? 503 : 202).end()
    await hub.fanOut([hub.event()])
    await waitUntil('the result', async () => (await outcomes()).length === 1)
    assert.equal(sink.received.length, 3)
    assert.equal(new Set(sink.received.map(({ claims }) => claims.jti)).size, 1)
    const [row] = await hub.rows<{ attempts: number }>('select attempts from deliveries')
    assert.equal(row?.attempts, 3)
  })

  it('parks a rejected SET alone, with the receiver’s words, and goes on', async () => {
    sink.answer = (_request, res) =>
      sink.received.length === 1
        ? void res.writeHead(400).end('{"err":"invalid_key","description":"unknown kid"}')
        : void res.writeHead(202).end()
    await hub.fanOut([hub.event()])
    await waitUntil('the parked row', async () => (await hub.rows('select 1 from parked')).length === 1)
    await hub.fanOut([hub.event()])
    await waitUntil('the next one', async () => (await outcomes()).length === 1)
    const [parked] = await hub.rows<{ code: string; reason: string; kind: string }>(
      'select code, reason, kind from parked',
    )
    assert.deepEqual(parked, { code: 'invalid_key', reason: 'invalid_key: unknown kid', kind: 'delivery' })
    assert.equal(await openRows(), 0)
  })

  it('lets no word of one receiver keep the results of another from being written', async () => {
    const evil = await startSink()
    evil.answer = (_request, res) =>
      void res.writeHead(400).end('{"err":"invalid_request","description":"a\\u0000b\\ud800"}')
    await hub.addStream({ receiverId: await hub.addReceiver(), endpointUrl: evil.url })
    await hub.fanOut(Array.from({ length: 30 }, () => hub.event()))
    await waitUntil('the good results', async () => (await outcomes()).length === 30)
    await waitUntil('the parked rows', async () => (await hub.rows('select 1 from parked')).length === 30)
    assert.equal(sink.received.length, 30)
    assert.equal(evil.received.length, 30)
    await evil.close()
  })

  it('finds waiting rows again after a restart', async () => {
    sink.answer = (_request, res) => void res.writeHead(503).end()
    await hub.fanOut([hub.event(), hub.event()])
    await waitUntil('a failed attempt', () => sink.received.length >= 1)
    await hub.restart()
    sink.answer = (_request, res) => void res.writeHead(202).end()
    await waitUntil('both', async () => (await outcomes()).length === 2)
    assert.equal(await openRows(), 0)
  })

  it('does not let a stuck endpoint delay another stream', async () => {
    const stuck = await startSink()
    stuck.answer = () => {}
    await hub.addStream({ receiverId: await hub.addReceiver(), endpointUrl: stuck.url })
    const events = Array.from({ length: 50 }, () => hub.event())
    await hub.fanOut(events)
    await waitUntil('the healthy stream', async () => (await outcomes()).length === 50)
    assert.ok(stuck.received.length > 0)
    assert.equal(await openRows(), 50)
    await stuck.close()
  })

  it('leaves an endpoint that the stream has left, though nobody said so', async () => {
    sink.answer = async (_request, res) => {
      await new Promise((resolve) => setTimeout(resolve, 300))
      res.writeHead(202).end()
    }
    const other = await startSink()
    const events = Array.from({ length: 400 }, (_, index) =>
      hub.event({ subject: { format: 'email', email: `u${index}@example.com` } }),
    )
    await hub.fanOut(events)
    await waitUntil('the first SETs', () => sink.received.length > 0)
    await hub.rows('update streams set endpoint_url = ?, version = version + 1 where stream_id = ?', [
      other.url,
      streamId,
    ])
    await waitUntil('the rest at the new endpoint', () => other.received.length > 0, { deadlineMs: 20_000 })
    const atOld = sink.received.length
    await waitUntil('all', async () => (await outcomes()).length === 400, { deadlineMs: 20_000 })
    assert.equal(sink.received.length, atOld)
    assert.ok(atOld < 400)
    await other.close()
  })

  it('drains a backlog larger than what it holds in memory', async () => {
    const events = Array.from({ length: 1_400 }, (_, index) =>
      hub.event({ subject: { format: 'email', email: `user${index}@example.com` } }),
    )
    for (let start = 0; start < events.length; start += 500)
      await hub.fanOut(events.slice(start, start + 500))
    await waitUntil('all results', async () => (await outcomes()).length === 1_400, { deadlineMs: 30_000 })
    assert.equal(new Set(sink.received.map(({ claims }) => claims.jti)).size, 1_400)
  })

  it('supersedes a loosening event that arrives after a newer tightening one of its subject', async () => {
    const stale = hub.event(compliance('compliant'))
    const newer = hub.event(compliance('not-compliant'))
    await hub.fanOut([newer])
    await hub.fanOut([stale])
    await waitUntil('both results', async () => (await outcomes()).length === 2)
    assert.deepEqual(await outcomes(), ['superseded', 'received'])
    assert.equal(sink.received.length, 1)
  })

  it('supersedes a loosening event whose retry is overtaken', async () => {
    sink.answer = (_request, res) => void res.writeHead(503).end()
    await hub.fanOut([hub.event(compliance('compliant'))])
    await waitUntil('a failed attempt', () => sink.received.length >= 1)
    await hub.fanOut([hub.event(compliance('not-compliant'))])
    sink.answer = (_request, res) => void res.writeHead(202).end()
    await waitUntil('both results', async () => (await outcomes()).length === 2)
    assert.deepEqual(await outcomes(), ['superseded', 'received'])
  })

  it('sends a loosening event that is newer', async () => {
    await hub.fanOut([hub.event(compliance('not-compliant'))])
    await hub.fanOut([hub.event(compliance('compliant'))])
    await waitUntil('both results', async () => (await outcomes()).length === 2)
    assert.deepEqual(await outcomes(), ['received', 'received'])
  })

  it('sends nothing while paused, and everything once enabled', async () => {
    await hub.rows(`update streams set status = 'paused', version = version + 1 where stream_id = ?`, [
      streamId,
    ])
    assert.equal(await hub.delivery.streamChanged(streamId), true)
    await hub.fanOut([hub.event(), hub.event()])
    assert.equal(await openRows(), 2)
    assert.equal(sink.received.length, 0)
    await hub.rows(`update streams set status = 'enabled', version = version + 1 where stream_id = ?`, [
      streamId,
    ])
    await hub.delivery.streamChanged(streamId)
    await waitUntil('both', async () => (await outcomes()).length === 2)
  })

  it('finishes as discarded what the receiver is no longer granted', async () => {
    sink.answer = (_request, res) => void res.writeHead(503).end()
    await hub.fanOut([hub.event()])
    await waitUntil('a failed attempt', () => sink.received.length >= 1)
    await hub.rows('update receivers set grant_event_types = ?', [[CAEP.deviceComplianceChange]])
    sink.answer = (_request, res) => void res.writeHead(202).end()
    const before = sink.received.length
    await waitUntil('the result', async () => (await outcomes()).length === 1)
    assert.deepEqual(await outcomes(), ['discarded'])
    assert.ok(sink.received.length - before <= 1)
  })

  it('counts as delivered only what an endpoint has answered', async () => {
    const gone = await startSink()
    await gone.close()
    const other = await hub.addStream({ receiverId: await hub.addReceiver(), endpointUrl: gone.url })
    await hub.fanOut([hub.event()])
    await waitUntil('a failed attempt', async () => {
      const [row] = await hub.rows<{ attempts: number }>(
        'select attempts from delivery_queue where stream_id = ?',
        [other],
      )
      return (row?.attempts ?? 0) > 0
    })
    const [row] = await hub.rows<{ delivered_at: Date | null }>(
      'select delivered_at from delivery_queue where stream_id = ?',
      [other],
    )
    assert.equal(row?.delivered_at, null)
  })

  it('sends nothing but the notice on a stream that an operator stopped', async () => {
    await hub.fanOut([hub.event()])
    await waitUntil('the first', async () => (await outcomes()).length === 1)
    await hub.rows(`update streams set status = 'paused', status_by = 'operator' where stream_id = ?`, [
      streamId,
    ])
    assert.equal(await hub.delivery.streamChanged(streamId), true)
    const notice = hub.event({
      type: SSF.streamUpdated,
      subject: { format: 'opaque', id: streamId },
      claims: { status: 'paused' },
      targetStreamId: streamId,
    })
    await hub.fanOut([hub.event(), notice, hub.event()])
    await waitUntil('the notice', async () => (await outcomes()).length === 2)
    assert.deepEqual(
      sink.received.slice(1).map(({ claims }) => claims.txn),
      [notice.txn],
    )
    assert.equal(await openRows(), 2)
  })

  it('writes no result once its lease is gone', async () => {
    let release: (() => void) | undefined
    sink.answer = (_request, res) => {
      release = () => void res.writeHead(202).end()
    }
    await hub.fanOut([hub.event()])
    await waitUntil('the attempt', () => release !== undefined)
    await hub.rows(`update leases set epoch = 2 where kind = 'delivery'`)
    release?.()
    sink.answer = (_request, res) => void res.writeHead(202).end()
    await waitUntil('the answer', () => sink.received.length >= 1)
    await hub.delivery.sender.stop()
    assert.deepEqual(await outcomes(), [])
    assert.equal(await openRows(), 1)
  })

  it('shares one signed SET between the streams of one receiver, and never between receivers', async () => {
    const other = await startSink()
    await hub.addStream({ receiverId, endpointUrl: other.url })
    await hub.addStream({ receiverId: await hub.addReceiver(), endpointUrl: other.url })
    await hub.fanOut([hub.event()])
    await waitUntil('three', async () => (await outcomes()).length === 3)
    const bodies = [...sink.received, ...other.received].map(({ body }) => body)
    assert.equal(new Set(bodies).size, 2)
    await other.close()
  })
})
