import assert from 'node:assert/strict'
import request from 'supertest'
import { CAEP, EVENTS_SUPPORTED, RISC } from '../../src/secevent/event-types.js'
import { sqlRows } from '../../src/storage/database.js'
import { authorizationContext, shardOf } from '../../src/streams/stream.js'
import { createSsfHarness, type SsfHarness, type TestReceiver, UNKNOWN_ID } from '../streams/ssf-harness.js'
import { describeSsf } from './ssf-places.js'

const PUSH = 'urn:ietf:rfc:8935'
const POLL = 'urn:ietf:rfc:8936'
const ENDPOINT = 'https://127.0.0.1:8443/events?tenant=1'

describeSsf('SSF 1.0 §8.1.1 stream configuration', (place) => {
  let ssf: SsfHarness
  let a: TestReceiver
  let b: TestReceiver
  before(async () => {
    ssf = await place.open()
    a = await ssf.addReceiver('gateway-a')
    b = await ssf.addReceiver('gateway-b', { eventTypes: [CAEP.sessionRevoked] })
  })
  after(() => ssf.close())

  const push = (extra: object = {}) => ({ delivery: { method: PUSH, endpoint_url: ENDPOINT, ...extra } })
  const read = (receiver: TestReceiver, id: string) =>
    ssf.call('get', `/ssf/streams?stream_id=${id}`, receiver.token)

  describe('§8.1.1.1 create', () => {
    it('answers 201 with the whole configuration and nothing internal (T-46)', async () => {
      const res = await ssf.call('post', '/ssf/streams', a.token, {
        ...push(),
        events_requested: [CAEP.sessionRevoked],
        description: 'Gateway A',
      })
      assert.equal(res.status, 201)
      assert.equal(res.headers['cache-control'], 'no-store')
      assert.match(res.body.stream_id, /^[0-9a-f-]{36}$/)
      assert.deepEqual(res.body, {
        stream_id: res.body.stream_id,
        iss: ssf.issuer,
        aud: a.audience,
        events_supported: [...EVENTS_SUPPORTED],
        events_requested: [CAEP.sessionRevoked],
        events_delivered: [CAEP.sessionRevoked],
        delivery: { method: PUSH, endpoint_url: ENDPOINT },
        description: 'Gateway A',
      })
    })

    it('takes poll when no delivery is given, at a URL of its own (T-49, T-89)', async () => {
      const first = await ssf.call('post', '/ssf/streams', a.token, {})
      const second = await ssf.call('post', '/ssf/streams', a.token, { delivery: { method: POLL } })
      for (const res of [first, second]) {
        assert.equal(res.status, 201)
        assert.deepEqual(res.body.delivery, {
          method: POLL,
          endpoint_url: `${ssf.issuer}/ssf/poll/${res.body.stream_id}`,
        })
        assert.ok(!('events_requested' in res.body))
        assert.ok(!('description' in res.body))
        assert.deepEqual(res.body.events_delivered, [])
      }
      assert.notEqual(first.body.stream_id, second.body.stream_id)
    })

    it('ignores unknown event types and repeats them as they were sent', async () => {
      const events_requested = [
        RISC.accountDisabled,
        'urn:x:unknown',
        CAEP.sessionRevoked,
        CAEP.sessionRevoked,
      ]
      const res = await ssf.call('post', '/ssf/streams', a.token, { events_requested })
      assert.equal(res.status, 201)
      assert.deepEqual(res.body.events_requested, events_requested)
      assert.deepEqual(res.body.events_delivered, [RISC.accountDisabled, CAEP.sessionRevoked])
    })

    it('accepts an empty list of requested events and delivers none', async () => {
      const res = await ssf.call('post', '/ssf/streams', a.token, { events_requested: [] })
      assert.equal(res.status, 201)
      assert.deepEqual(res.body.events_requested, [])
      assert.deepEqual(res.body.events_delivered, [])
    })

    it('never delivers the framework events by list', async () => {
      const verification = 'https://schemas.openid.net/secevent/ssf/event-type/verification'
      const res = await ssf.call('post', '/ssf/streams', a.token, { events_requested: [verification] })
      assert.deepEqual(res.body.events_delivered, [])
      assert.ok(!res.body.events_supported.includes(verification))
    })

    it('cuts what is supported and delivered by the receiver’s grants', async () => {
      const res = await ssf.call('post', '/ssf/streams', b.token, {
        events_requested: [CAEP.sessionRevoked, CAEP.credentialChange],
      })
      assert.deepEqual(res.body.events_supported, [CAEP.sessionRevoked])
      assert.deepEqual(res.body.events_delivered, [CAEP.sessionRevoked])
    })

    it('reads JSON without a Content-Type (T-57)', async () => {
      // Of bytes the client does not guess a type.
      const send = async (method: 'post' | 'patch', type: string | undefined, body: object) => {
        const pending = request(ssf.app)[method]('/ssf/streams').auth(a.token, { type: 'bearer' })
        if (type) pending.type(type)
        const res = await pending.send(Buffer.from(JSON.stringify(body)))
        assert.equal((pending as unknown as { header: object }).header['Content-Type' as never], type)
        return res
      }
      for (const type of [undefined, 'text/plain', 'application/secevent+jwt']) {
        const created = await send('post', type, { description: 'bare' })
        assert.deepEqual([created.status, created.body.description], [201, 'bare'])
        const change = { stream_id: created.body.stream_id, description: 'changed' }
        const changed = await send('patch', type, change)
        assert.deepEqual([changed.status, changed.body.description], [200, 'changed'])
      }
    })

    it('truncates a long description without cutting a character', async () => {
      const res = await ssf.call('post', '/ssf/streams', a.token, { description: '😀'.repeat(1500) })
      assert.equal(res.status, 201)
      assert.equal(res.body.description, '😀'.repeat(1000))
    })

    it('keeps rows of event types and the shard in step with the stream', async () => {
      const id = await ssf.createStream(a, { events_requested: [CAEP.sessionRevoked, CAEP.credentialChange] })
      assert.deepEqual(await eventTypes(id), [CAEP.credentialChange, CAEP.sessionRevoked])
      const [row] = await sqlRows<{ shard: number }>(
        ssf.db,
        'select shard from streams where stream_id = ?',
        [id],
      )
      assert.equal(row?.shard, shardOf(id))
    })

    const BAD: Record<string, object | string> = {
      'a cut-off body': '{"delivery":',
      'an array': '[]',
      'a bare string': '"x"',
      'a delivery without method': { delivery: {} },
      'a delivery that is null': { delivery: null },
      'an unsupported method': { delivery: { method: 'urn:ietf:rfc:9999' } },
      'push without endpoint_url': { delivery: { method: PUSH } },
      'push with an empty endpoint_url': { delivery: { method: PUSH, endpoint_url: '' } },
      'an endpoint_url that is no URL': { delivery: { method: PUSH, endpoint_url: 'events' } },
      'another scheme': { delivery: { method: PUSH, endpoint_url: 'ftp://127.0.0.1/x' } },
      'an address inside': { delivery: { method: PUSH, endpoint_url: 'https://10.0.0.1/x' } },
      'the metadata address': { delivery: { method: PUSH, endpoint_url: 'https://169.254.169.254/x' } },
      'a header with a line break': push({ authorization_header: 'Bearer x\r\nHost: y' }),
      'a header that is empty': push({ authorization_header: '' }),
      'a header with nothing but its name': push({ authorization_header: 'Authorization: ' }),
      'events_requested that is no array': { events_requested: CAEP.sessionRevoked },
      'events_requested with a number': { events_requested: [1] },
      'a description that is no string': { description: 7 },
      'U+0000 in the description': { description: 'a\u0000b' },
      'a stream_id': { stream_id: 'mine' },
      'an audience': { aud: 'me' },
      events_delivered: { events_delivered: [] },
    }
    for (const [what, body] of Object.entries(BAD)) {
      it(`answers 400 to ${what} and creates nothing`, async () => {
        const before = (await ssf.streams.list(a.id)).length
        const res = await request(ssf.app)
          .post('/ssf/streams')
          .set('Authorization', `Bearer ${a.token}`)
          .type('application/json')
          .send(typeof body === 'string' ? body : JSON.stringify(body))
        assert.equal(res.status, 400)
        assert.equal(typeof res.body.message, 'string')
        assert.equal((await ssf.streams.list(a.id)).length, before)
      })
    }

    it('answers 400 without any body', async () => {
      assert.equal((await ssf.call('post', '/ssf/streams', a.token)).status, 400)
    })

    it('ignores members that nobody defined', async () => {
      assert.equal((await ssf.call('post', '/ssf/streams', a.token, { colour: 'red' })).status, 201)
    })

    place.itInside('answers 403 with clear text beyond the limit, also to simultaneous calls', async () => {
      const small = await createSsfHarness({ maxStreamsPerReceiver: 2 })
      const receiver = await small.addReceiver('small')
      const results = await Promise.all(
        Array.from({ length: 6 }, () => small.call('post', '/ssf/streams', receiver.token, {})),
      )
      assert.equal(results.filter((res) => res.status === 201).length, 2)
      const refused = results.filter((res) => res.status !== 201)
      for (const res of refused) {
        assert.equal(res.status, 403)
        assert.equal(res.body.code, 'ERR_STREAM_LIMIT')
      }
      await small.close()
    })
  })

  describe('the authorization_header of a push delivery (T-48)', () => {
    it('is never returned, and stored sealed without the header’s name', async () => {
      const secret = 'Bearer canary-7f3a'
      const id = await ssf.createStream(a, push({ authorization_header: `Authorization: ${secret}` }))
      const answers = [
        await read(a, id),
        await ssf.call('get', '/ssf/streams', a.token),
        await ssf.call('patch', '/ssf/streams', a.token, { stream_id: id, description: 'x' }),
        await ssf.call('get', `/v1/streams/${id}`, ssf.operatorToken),
      ]
      for (const res of answers) {
        assert.equal(res.status, 200)
        assert.ok(!res.text.includes('canary'))
        assert.ok(!res.text.includes('authorization'))
      }
      const sealed = await sealedHeader(id)
      assert.ok(sealed && !sealed.includes('canary'))
      assert.equal(ssf.keys.open(sealed, authorizationContext(id)).toString(), secret)
      const audit = await sqlRows<{ row: string }>(ssf.db, 'select audit_log::text as row from audit_log')
      assert.ok(audit.every(({ row }) => !row.includes('canary')))
    })

    it('stays when delivery is not named and goes when delivery is replaced without one (T-56)', async () => {
      const id = await ssf.createStream(a, push({ authorization_header: 'Bearer one' }))
      await ssf.call('patch', '/ssf/streams', a.token, { stream_id: id, description: 'x' })
      assert.ok(await sealedHeader(id))
      await ssf.call('patch', '/ssf/streams', a.token, { stream_id: id, ...push() })
      assert.equal(await sealedHeader(id), undefined)
    })
  })

  describe('§8.1.1.2 read', () => {
    it('lists an array always, empty when there is none', async () => {
      const nobody = await ssf.addReceiver('nobody')
      const none = await ssf.call('get', '/ssf/streams', nobody.readToken)
      assert.equal(none.status, 200)
      assert.deepEqual(none.body, [])
      await ssf.createStream(nobody)
      const one = await ssf.call('get', '/ssf/streams', nobody.readToken)
      assert.equal(one.body.length, 1)
      assert.equal(one.headers['cache-control'], 'no-store')
    })

    it('reads one stream with ssf.read', async () => {
      const id = await ssf.createStream(a, { description: 'one' })
      const res = await ssf.call('get', `/ssf/streams?stream_id=${id}`, a.readToken)
      assert.equal(res.status, 200)
      assert.equal(res.body.stream_id, id)
    })

    it('answers 404 for what is no stream, and 400 for an id twice or empty', async () => {
      for (const id of [UNKNOWN_ID, 'x', "'; drop table streams"]) {
        const res = await ssf.call('get', `/ssf/streams?stream_id=${encodeURIComponent(id)}`, a.token)
        assert.equal(res.status, 404)
        assert.equal(res.headers['cache-control'], 'no-store')
      }
      assert.equal((await ssf.call('get', '/ssf/streams?stream_id=', a.token)).status, 400)
      const twice = `/ssf/streams?stream_id=${UNKNOWN_ID}&stream_id=${UNKNOWN_ID}`
      assert.equal((await ssf.call('get', twice, a.token)).status, 400)
    })
  })

  describe('§8.1.1.3 update', () => {
    it('changes what is present and leaves the rest (T-52, T-55)', async () => {
      const id = await ssf.createStream(a, {
        ...push(),
        events_requested: [CAEP.sessionRevoked],
        description: 'before',
      })
      const described = await ssf.call('patch', '/ssf/streams', a.token, {
        stream_id: id,
        description: 'after',
      })
      assert.equal(described.status, 200)
      assert.equal(described.body.description, 'after')
      assert.deepEqual(described.body.delivery, { method: PUSH, endpoint_url: ENDPOINT })
      assert.deepEqual(described.body.events_delivered, [CAEP.sessionRevoked])
      const requested = await ssf.call('patch', '/ssf/streams', a.token, {
        stream_id: id,
        events_requested: [CAEP.credentialChange],
      })
      assert.equal(requested.body.description, 'after')
      assert.deepEqual(requested.body.events_delivered, [CAEP.credentialChange])
      assert.deepEqual(await eventTypes(id), [CAEP.credentialChange])
    })

    it('switches between push and poll (T-56)', async () => {
      const id = await ssf.createStream(a)
      const pushed = await ssf.call('patch', '/ssf/streams', a.token, { stream_id: id, ...push() })
      assert.deepEqual(pushed.body.delivery, { method: PUSH, endpoint_url: ENDPOINT })
      const polled = await ssf.call('patch', '/ssf/streams', a.token, {
        stream_id: id,
        delivery: { method: POLL },
      })
      assert.deepEqual(polled.body.delivery, { method: POLL, endpoint_url: `${ssf.issuer}/ssf/poll/${id}` })
    })

    place.itInside('raises the version and tells the owner of the shard', async () => {
      const id = await ssf.createStream(a)
      const before = await version(id)
      ssf.observer.changed.length = 0
      await ssf.call('patch', '/ssf/streams', a.token, { stream_id: id, description: 'x' })
      assert.equal(await version(id), before + 1)
      assert.deepEqual(ssf.observer.changed, [id])
    })

    it('refuses a new endpoint that requests may not go to, and keeps the old', async () => {
      const id = await ssf.createStream(a, push())
      const res = await ssf.call('patch', '/ssf/streams', a.token, {
        stream_id: id,
        delivery: { method: PUSH, endpoint_url: 'https://192.168.1.1/x' },
      })
      assert.equal(res.status, 400)
      assert.equal((await read(a, id)).body.delivery.endpoint_url, ENDPOINT)
    })
  })

  describe('§8.1.1.4 replace', () => {
    it('deletes what is missing: description, events, and delivery falls back to poll (T-53)', async () => {
      const id = await ssf.createStream(a, {
        ...push({ authorization_header: 'Bearer x' }),
        events_requested: [CAEP.sessionRevoked],
        description: 'before',
      })
      const res = await ssf.call('put', '/ssf/streams', a.token, { stream_id: id })
      assert.equal(res.status, 200)
      assert.ok(!('description' in res.body))
      assert.ok(!('events_requested' in res.body))
      assert.deepEqual(res.body.events_delivered, [])
      assert.deepEqual(res.body.delivery, { method: POLL, endpoint_url: `${ssf.issuer}/ssf/poll/${id}` })
      assert.deepEqual(await eventTypes(id), [])
      assert.equal(await sealedHeader(id), undefined)
    })

    it('takes the whole configuration back as it was read', async () => {
      for (const body of [push(), {}]) {
        const id = await ssf.createStream(a, { ...body, events_requested: [CAEP.sessionRevoked, 'urn:x'] })
        const current = (await read(a, id)).body
        const res = await ssf.call('put', '/ssf/streams', a.token, { ...current, description: 'new' })
        assert.equal(res.status, 200)
        assert.deepEqual(res.body, { ...current, description: 'new' })
      }
    })
  })

  for (const method of ['patch', 'put'] as const) {
    describe(`transmitter-supplied members in ${method.toUpperCase()} (T-54)`, () => {
      it('may be repeated, arrays in any order', async () => {
        const id = await ssf.createStream(a, {
          events_requested: [CAEP.sessionRevoked, CAEP.credentialChange],
        })
        const current = (await read(a, id)).body
        const res = await ssf.call(method, '/ssf/streams', a.token, {
          ...current,
          aud: [current.aud],
          events_supported: [...current.events_supported].reverse(),
          // As it stands before the change.
          events_delivered: [...current.events_delivered].reverse(),
          events_requested: [RISC.accountDisabled],
        })
        assert.equal(res.status, 200)
        assert.deepEqual(res.body.events_delivered, [RISC.accountDisabled])
      })

      const WRONG: Record<string, unknown> = {
        iss: 'https://other.example',
        aud: ['urn:gateway-a', 'urn:other'],
        events_supported: [CAEP.sessionRevoked],
        events_delivered: [CAEP.credentialChange],
        min_verification_interval: 3,
        inactivity_timeout: 60,
        delivery: { method: POLL, endpoint_url: 'https://elsewhere.example/poll' },
      }
      for (const [name, value] of Object.entries(WRONG)) {
        it(`answers 400 when ${name} differs, and changes nothing`, async () => {
          const id = await ssf.createStream(a, {
            events_requested: [CAEP.sessionRevoked],
            description: 'before',
          })
          const before = (await read(a, id)).body
          const res = await ssf.call(method, '/ssf/streams', a.token, {
            stream_id: id,
            description: 'after',
            [name]: value,
          })
          assert.equal(res.status, 400)
          assert.match(res.body.message, new RegExp(name))
          assert.deepEqual((await read(a, id)).body, before)
        })
      }
    })

    it(`answers ${method.toUpperCase()} 400 without stream_id or with a bad body, 404 for an unknown one`, async () => {
      const send = (body: object) => ssf.call(method, '/ssf/streams', a.token, body)
      assert.equal((await send({ description: 'x' })).status, 400)
      assert.equal((await send({ stream_id: 7 })).status, 400)
      assert.equal((await send({ stream_id: UNKNOWN_ID, delivery: 'x' })).status, 400)
      assert.equal((await send({ stream_id: UNKNOWN_ID })).status, 404)
      assert.equal((await send({ stream_id: 'no-uuid' })).status, 404)
    })
  }

  describe('§8.1.1.5 delete', () => {
    it('answers 204 and purges queue, subjects and event types; then it is 404 (T-58)', async () => {
      const id = await ssf.createStream(a, { events_requested: [CAEP.sessionRevoked] })
      await ssf.queueDelivery(a, id)
      await ssf.call('post', '/ssf/subjects/remove', a.token, {
        stream_id: id,
        subject: { format: 'email', email: 'x@example.com' },
      })
      const res = await ssf.call('delete', `/ssf/streams?stream_id=${id}`, a.token)
      assert.equal(res.status, 204)
      assert.equal(res.text, '')
      assert.equal(res.headers['cache-control'], 'no-store')
      for (const table of ['delivery_queue', 'stream_subjects', 'stream_event_types']) {
        assert.equal(await ssf.count(table, id), 0, table)
      }
      assert.equal((await read(a, id)).status, 404)
      assert.equal((await ssf.call('delete', `/ssf/streams?stream_id=${id}`, a.token)).status, 404)
      assert.equal((await ssf.call('get', `/ssf/status?stream_id=${id}`, a.token)).status, 404)
    })

    it('answers 400 without stream_id, though one stands in the body', async () => {
      const id = await ssf.createStream(a)
      assert.equal((await ssf.call('delete', '/ssf/streams', a.token, { stream_id: id })).status, 400)
      assert.equal((await read(a, id)).status, 200)
    })

    place.itInside('answers 202 when the owner has not confirmed that it stopped', async () => {
      const id = await ssf.createStream(a)
      ssf.observer.confirms = false
      const res = await ssf.call('delete', `/ssf/streams?stream_id=${id}`, a.token)
      ssf.observer.confirms = true
      assert.equal(res.status, 202)
      assert.equal((await read(a, id)).status, 404)
    })
  })

  it('follows a change of the receiver’s grants in the transaction that makes it', async () => {
    const receiver = await ssf.addReceiver('regranted')
    const id = await ssf.createStream(receiver, {
      events_requested: [CAEP.sessionRevoked, CAEP.credentialChange],
    })
    const changed = await ssf.db.transaction(async (trx) => {
      await trx('receivers')
        .where({ id: receiver.id })
        .update({ grant_event_types: [CAEP.credentialChange] })
      return ssf.streams.grantsChanged(trx, receiver.id)
    })
    assert.deepEqual(changed, [id])
    assert.deepEqual((await read(receiver, id)).body.events_delivered, [CAEP.credentialChange])
    assert.deepEqual(await eventTypes(id), [CAEP.credentialChange])
  })

  place.itInside(
    'is served below the issuer’s path, and at the root for a proxy that takes the path off',
    async () => {
      const pathful = await createSsfHarness({ issuer: 'https://hub.example.com/t1' })
      try {
        const receiver = await pathful.addReceiver('behind-a-path')
        const created = await pathful.call('post', '/t1/ssf/streams', receiver.token, {})
        assert.equal(created.status, 201)
        const listed = await pathful.call('get', '/ssf/streams', receiver.token)
        assert.equal(listed.body.length, 1)
        assert.ok(listed.body[0].delivery.endpoint_url.startsWith('https://hub.example.com/t1/ssf/poll/'))
      } finally {
        await pathful.close()
      }
    },
  )

  it('answers 405 to other methods', async () => {
    for (const method of ['options', 'propfind'] as const) {
      const res = await request(ssf.app)[method]('/ssf/streams')
      assert.equal(res.status, 405)
      assert.equal(res.headers.allow, 'GET, POST, PATCH, PUT, DELETE')
    }
  })

  async function eventTypes(streamId: string): Promise<string[]> {
    const rows = await sqlRows<{ event_type: string }>(
      ssf.db,
      'select event_type from stream_event_types where stream_id = ? order by event_type',
      [streamId],
    )
    return rows.map((row) => row.event_type)
  }
  async function sealedHeader(streamId: string): Promise<Buffer | undefined> {
    const [row] = await sqlRows<{ authorization_wrapped: Buffer | null }>(
      ssf.db,
      'select authorization_wrapped from streams where stream_id = ?',
      [streamId],
    )
    return row?.authorization_wrapped ?? undefined
  }
  async function version(streamId: string): Promise<number> {
    const [row] = await sqlRows<{ version: number }>(
      ssf.db,
      'select version from streams where stream_id = ?',
      [streamId],
    )
    return row?.version ?? 0
  }
})
