import assert from 'node:assert/strict'
import request from 'supertest'
import { newId } from '../../src/kernel/ids.js'
import { CAEP } from '../../src/secevent/event-types.js'
import { createSsfHarness, type SsfHarness, type TestReceiver, UNKNOWN_ID } from './ssf-harness.js'

const PUSH = 'urn:ietf:rfc:8935'
const POLL = 'urn:ietf:rfc:8936'

describe('streams: what a change by the receiver leaves behind', () => {
  let ssf: SsfHarness
  let a: TestReceiver
  before(async () => {
    ssf = await createSsfHarness()
    a = await ssf.addReceiver('gateway-a')
  })
  after(() => ssf.close())

  const auditOf = (id: string) =>
    ssf
      .db('audit_log')
      .where({ target: `stream:${id}` })
      .orderBy('at')
      .select('actor', 'action', 'detail')

  it('is an audit row each, with the URL but not its query or fragment, and no secret', async () => {
    const push = (path: string) => ({
      method: PUSH,
      endpoint_url: `http://127.0.0.1:40009/${path}`,
      authorization_header: 'Bearer canary',
    })
    const events_requested = [CAEP.sessionRevoked]
    const id = await ssf.createStream(a, { delivery: push('made?key=canary'), events_requested })
    const stream_id = id
    await ssf.call('patch', '/ssf/streams', a.token, { stream_id, delivery: push('moved#canary') })
    await ssf.call('put', '/ssf/streams', a.token, { stream_id, delivery: push('again?a=canary&b=1#canary') })
    await ssf.call('put', '/ssf/streams', a.token, { stream_id, delivery: { method: POLL } })
    await ssf.call('delete', `/ssf/streams?stream_id=${id}`, a.token)
    const actor = `receiver:${a.id}`
    const rows = await auditOf(id)
    const places = [
      'http://127.0.0.1:40009/made',
      'http://127.0.0.1:40009/moved',
      'http://127.0.0.1:40009/again',
    ]
    assert.deepEqual(rows, [
      {
        actor,
        action: 'stream.created',
        detail: { delivery: 'push', endpoint_url: places[0], events_delivered: events_requested },
      },
      {
        actor,
        action: 'stream.updated',
        detail: { delivery: 'push', endpoint_url: places[1], events_delivered: events_requested },
      },
      {
        actor,
        action: 'stream.replaced',
        detail: { delivery: 'push', endpoint_url: places[2], events_delivered: [] },
      },
      { actor, action: 'stream.replaced', detail: { delivery: 'poll', events_delivered: [] } },
      { actor, action: 'stream.deleted', detail: {} },
    ])
    assert.doesNotMatch(JSON.stringify(rows), /canary/)
  })

  it('is nothing when it is refused', async () => {
    const id = await ssf.createStream(a)
    const stream_id = id
    const refused = await ssf.call('patch', '/ssf/streams', a.token, {
      stream_id,
      iss: 'https://else.example.com',
      events_delivered: ['urn:x'],
    })
    assert.equal(refused.status, 400)
    assert.match(refused.text, /iss, events_delivered/)
    assert.deepEqual(
      (await auditOf(id)).map(({ action }) => action),
      ['stream.created'],
    )
  })

  it('is a new start of the inactivity timer only where there is one', async () => {
    const timed = await ssf.addReceiver('timed', { inactivityTimeoutS: 600 })
    for (const [receiver, restarts] of [
      [timed, true],
      [a, false],
    ] as const) {
      const id = await ssf.createStream(receiver)
      const age = () =>
        ssf.db('streams').where({ stream_id: id }).update({ active_at: '2020-01-01T00:00:00Z' })
      const restarted = async () => {
        const [row] = await ssf.db('streams').where({ stream_id: id }).select('active_at')
        return (row as { active_at: Date }).active_at.getUTCFullYear() > 2020
      }
      await age()
      await ssf.call('get', `/ssf/streams?stream_id=${id}`, receiver.readToken)
      assert.equal(await restarted(), restarts, 'by reading')
      await age()
      await ssf.streams.noteActivity(receiver.id, id)
      assert.equal(await restarted(), restarts, 'by a call that was refused')
      await ssf.streams.noteActivity(receiver.id, UNKNOWN_ID)
    }
  })

  it('follows event types at the streams that they concern, and at no others', async () => {
    const receiver = await ssf.addReceiver('asks-ahead')
    const asking = await ssf.createStream(receiver, { events_requested: ['urn:asked:ahead'] })
    await ssf.createStream(receiver, { events_requested: [CAEP.sessionRevoked] })
    assert.deepEqual(await ssf.streams.eventTypesChanged(), [])
    await ssf
      .db('event_types')
      .insert({ id: newId(), type: 'urn:asked:ahead', effect: JSON.stringify('neutral') })
    assert.deepEqual(await ssf.streams.eventTypesChanged(), [asking])
    const { events_delivered } = await ssf.streams.read(receiver.id, asking)
    assert.deepEqual(events_delivered, ['urn:asked:ahead'])
    assert.deepEqual(await ssf.streams.eventTypesChanged(), [])
  })

  it('names the scope that a read-only token lacks, and the methods that there are', async () => {
    const id = await ssf.createStream(a)
    for (const [method, path, body] of [
      ['post', '/ssf/streams', {}],
      ['patch', '/ssf/streams', { stream_id: id }],
      ['put', '/ssf/streams', { stream_id: id }],
      ['delete', `/ssf/streams?stream_id=${id}`, undefined],
      ['post', '/ssf/status', { stream_id: id, status: 'paused' }],
      ['post', '/ssf/subjects/add', { stream_id: id, subject: { format: 'opaque', id: 'x' } }],
      ['post', '/ssf/subjects/remove', { stream_id: id, subject: { format: 'opaque', id: 'x' } }],
      ['post', '/ssf/verify', { stream_id: id }],
    ] as const) {
      const refused = await ssf.call(method, path, a.readToken, body)
      assert.equal(refused.status, 403, path)
      assert.match(
        refused.headers['www-authenticate'] ?? '',
        /error="insufficient_scope", scope="ssf.manage"$/,
        path,
      )
    }
    for (const [path, allowed] of [
      ['/ssf/status', 'GET, POST'],
      ['/ssf/subjects/add', 'POST'],
      ['/ssf/subjects/remove', 'POST'],
      ['/ssf/verify', 'POST'],
    ] as const) {
      const refused = await ssf.call('patch', path, a.token, { stream_id: id })
      assert.deepEqual([refused.status, refused.headers.allow], [405, allowed], path)
    }
  })

  it('may be cached where it is public', async () => {
    const { headers } = await request(ssf.app).get('/.well-known/ssf-configuration')
    assert.equal(headers['cache-control'], 'public, max-age=300')
    const keys = await request(ssf.app).get('/ssf/jwks.json')
    assert.equal(keys.headers['cache-control'], 'public, max-age=60')
  })
})
