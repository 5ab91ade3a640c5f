import assert from 'node:assert/strict'
import { SSF } from '../../src/secevent/event-types.js'
import { createStreamRepository } from '../../src/streams/stream-repository.js'
import { createSsfHarness, type SsfHarness, type TestReceiver, UNKNOWN_ID } from './ssf-harness.js'

describe('streams: operators’ view', () => {
  let ssf: SsfHarness
  let a: TestReceiver
  before(async () => {
    ssf = await createSsfHarness()
    a = await ssf.addReceiver('gateway-a')
  })
  after(() => ssf.close())

  it('lists all receivers’ streams in pages, filtered when asked', async () => {
    const b = await ssf.addReceiver('gateway-b')
    const ids = [await ssf.createStream(a), await ssf.createStream(b), await ssf.createStream(b)]
    const seen: string[] = []
    let cursor: string | null = ''
    while (cursor !== null) {
      const query: string = cursor === '' ? '' : `&cursor=${cursor}`
      const page = await ssf.call('get', `/v1/streams?limit=2${query}`, 'viewer')
      assert.equal(page.status, 200)
      assert.ok(page.body.items.length <= 2)
      seen.push(...page.body.items.map((item: { stream_id: string }) => item.stream_id))
      cursor = page.body.next as string | null
    }
    assert.deepEqual(seen, [...ids].sort())
    const ofB = await ssf.call('get', `/v1/streams?receiver_id=${b.id}&status=enabled`, 'viewer')
    assert.deepEqual(
      ofB.body.items.map((item: { receiver: object }) => item.receiver),
      [
        { id: b.id, name: 'gateway-b' },
        { id: b.id, name: 'gateway-b' },
      ],
    )
  })

  it('shows one stream with its open deliveries', async () => {
    const id = await ssf.createStream(a, { description: 'one' })
    await ssf.queueDelivery(a, id)
    const res = await ssf.call('get', `/v1/streams/${id}`, 'viewer')
    assert.equal(res.status, 200)
    assert.equal(res.body.description, 'one')
    assert.equal(res.body.open_deliveries, 1)
    assert.match(res.body.oldest_open_at, /Z$/)
  })

  it('says when it was last changed, be it the status or anything else', async () => {
    const id = await ssf.createStream(a)
    const streams = createStreamRepository(ssf.db)
    const shown = async (): Promise<string> =>
      (await ssf.call('get', `/v1/streams/${id}`, 'viewer')).body.updated_at
    // As an older release leaves it.
    await ssf.db('streams').where({ stream_id: id }).update({ updated_at: '2026-01-02T03:04:05Z' })
    assert.equal(await shown(), '2026-01-02T03:04:05.000Z')
    await streams.saveSubjectCount(id, 1)
    const configured = await shown()
    assert.ok(configured > '2026-01-03', configured)
    await streams.saveStatus(id, { status: 'paused', reason: undefined, by: 'operator' })
    assert.ok((await shown()) >= configured)
  })

  it('pauses and enables with a reason, an audit row each, and word to the receiver', async () => {
    const id = await ssf.createStream(a)
    const paused = await ssf.call('post', `/v1/streams/${id}/pause`, 'operator', { reason: 'ticket 7' })
    assert.equal(paused.status, 200)
    assert.equal(paused.body.status, 'paused')
    assert.equal(paused.body.status_by, 'operator')
    assert.equal(paused.body.status_reason, 'ticket 7')
    const enabled = await ssf.call('post', `/v1/streams/${id}/enable`, 'operator')
    assert.equal(enabled.body.status, 'enabled')
    const rows = await ssf
      .db('audit_log')
      .where({ target: `stream:${id}` })
      .orderBy('at')
      .select('actor', 'action', 'detail')
    assert.deepEqual(rows.slice(1), [
      { actor: 'operator:operator', action: 'stream.paused', detail: { reason: 'ticket 7' } },
      { actor: 'operator:operator', action: 'stream.enabled', detail: {} },
    ])
    const told = (await ssf.logged()).filter((event) => event.targetStreamId === id)
    assert.deepEqual(
      told.map((event) => [event.type, event.claims]),
      [
        [SSF.streamUpdated, { status: 'paused', reason: 'ticket 7' }],
        [SSF.streamUpdated, { status: 'enabled' }],
      ],
    )
  })

  it('holds what an operator stopped against the receiver and against the hub’s own rules', async () => {
    const id = await ssf.createStream(a)
    await ssf.call('post', `/v1/streams/${id}/pause`, 'operator')
    const set = (status: string) => ssf.call('post', '/ssf/status', a.token, { stream_id: id, status })
    const refused = await set('enabled')
    assert.equal(refused.status, 403)
    assert.equal(refused.body.code, 'ERR_STATUS_HELD')
    assert.equal((await set('paused')).status, 200)
    assert.equal((await ssf.statuses.setStatusByHub(id, 'enabled', undefined)).changed, false)
    await ssf.call('post', `/v1/streams/${id}/enable`, 'operator')
    assert.equal((await set('paused')).status, 200)
  })

  it('answers 202 while the sender has not confirmed the stop', async () => {
    const id = await ssf.createStream(a)
    ssf.observer.confirms = false
    const res = await ssf.call('post', `/v1/streams/${id}/pause`, 'operator')
    ssf.observer.confirms = true
    assert.equal(res.status, 202)
  })

  it('sends a verification without state, also twice at once, with an audit row (SSF 1.0 §8.1.4)', async () => {
    const id = await ssf.createStream(a)
    const before = (await ssf.logged()).length
    for (let count = 0; count < 2; count += 1) {
      const res = await ssf.call('post', `/v1/streams/${id}/verify`, 'operator')
      assert.deepEqual([res.status, res.text], [204, ''])
    }
    const events = (await ssf.logged()).slice(before)
    assert.deepEqual(
      events.map((event) => [event.type, event.claims, event.targetStreamId]),
      Array.from({ length: 2 }, () => [SSF.verification, {}, id]),
    )
    const rows = await ssf
      .db('audit_log')
      .where({ target: `stream:${id}`, action: 'stream.verification_requested' })
    assert.deepEqual(
      rows.map((row) => row.actor),
      ['operator:operator', 'operator:operator'],
    )
    assert.equal((await ssf.call('post', `/v1/streams/${UNKNOWN_ID}/verify`, 'operator')).status, 404)
    assert.equal((await ssf.call('post', `/v1/streams/${id}/verify`, 'viewer')).status, 403)
  })

  it('lets a viewer read but not change, and strangers neither', async () => {
    const id = await ssf.createStream(a)
    assert.equal((await ssf.call('post', `/v1/streams/${id}/pause`, 'viewer')).status, 403)
    assert.equal((await ssf.call('get', '/v1/streams', a.token)).status, 401)
    assert.equal((await ssf.call('post', `/v1/streams/${id}/enable`, a.token)).status, 401)
  })

  it('answers 404 for an unknown stream and 400 for a bad body or query', async () => {
    for (const id of [UNKNOWN_ID, 'x']) {
      assert.equal((await ssf.call('get', `/v1/streams/${id}`, 'viewer')).status, 404)
      assert.equal((await ssf.call('post', `/v1/streams/${id}/pause`, 'operator')).status, 404)
    }
    const id = await ssf.createStream(a)
    const bad = [{ reason: 7 }, { reason: '' }, { colour: 'red' }]
    for (const body of bad) {
      assert.equal((await ssf.call('post', `/v1/streams/${id}/pause`, 'operator', body)).status, 400)
    }
    for (const query of ['limit=0', 'status=gone', 'receiver_id=x', 'cursor=x', 'colour=red']) {
      assert.equal((await ssf.call('get', `/v1/streams?${query}`, 'viewer')).status, 400, query)
    }
  })
})
