import assert from 'node:assert/strict'
import { CAEP, EVENTS_SUPPORTED } from '../../src/secevent/event-types.js'
import { AUDIENCE, type ScriptedTransmitter } from '../support/scripted-transmitter.js'
import { waitUntil } from '../support/wait.js'
import { type HubBelow, startHubBelow } from './hub-below.js'

describe('upstream: the stream at a transmitter', function () {
  this.timeout(90_000)
  let below: HubBelow
  let transmitter: ScriptedTransmitter

  before(async () => {
    below = await startHubBelow()
  })
  after(() => below?.close())
  beforeEach(async () => {
    transmitter = await below.newTransmitter()
  })

  it('is made with receiver-supplied members alone, all types the hub acts on, and no framework type (R-14, R-15)', async () => {
    const id = await below.verified(transmitter, 'poll')
    const [create] = transmitter.called('create')
    assert.deepEqual(Object.keys(create?.body ?? {}).sort(), ['delivery', 'description', 'events_requested'])
    assert.deepEqual(create?.body.events_requested, EVENTS_SUPPORTED)
    assert.ok(!EVENTS_SUPPORTED.some((type) => type.includes('/ssf/')))
    assert.deepEqual(create?.body.delivery, { method: 'urn:ietf:rfc:8936' })
    assert.equal(create?.query.get('tenant'), 'a', 'the query of the endpoint stays')
    const body = await below.read(id)
    assert.deepEqual(body.audience, [AUDIENCE])
    assert.deepEqual(body.stream?.events_missing, [])
    await waitUntil('the status was read', () => transmitter.called('status')[0])
    const [status] = transmitter.called('status')
    assert.equal(status?.query.get('stream_id'), body.stream?.stream_id, 'R-18')
  })

  it('is pushed to the ingest URL with a header that the hub made up and shows to nobody', async () => {
    const id = await below.verified(transmitter, 'push')
    const delivery = transmitter.called('create')[0]?.body.delivery as Record<string, string>
    assert.equal(delivery.endpoint_url, `${below.hub.url}/ingest/${id}`)
    assert.match(delivery.authorization_header ?? '', /^Bearer fbk_push_[\w-]{43}$/)
    const wrong = await fetch(delivery.endpoint_url ?? '', { method: 'POST', body: 'e30.e30.e30' })
    assert.equal(wrong.status, 401)
    assert.match(await wrong.text(), /authentication_failed/)
  })

  it('keeps secrets out of answers, tables, audit and log', async () => {
    const id = await below.verified(transmitter, 'push')
    const delivery = transmitter.called('create')[0]?.body.delivery as Record<string, string>
    const token = transmitter.called('create')[0]?.headers.authorization?.replace('Bearer ', '') as string
    const { db } = below.database
    const tables = ['transmitters', 'upstream_streams', 'upstream_verifications', 'audit_log', 'events']
    const dump = JSON.stringify([
      await Promise.all(tables.map((table) => db(table).select(db.raw('*, ??::text as whole', [table])))),
      await below.read(id),
      await below.hub.call('GET', '/v1/transmitters'),
      below.log,
    ])
    const state = transmitter.called('verify')[0]?.body.state as string
    for (const secret of [transmitter.client.secret, delivery.authorization_header as string, token, state]) {
      assert.ok(secret.length > 10)
      assert.ok(!dump.includes(secret), secret)
      assert.ok(!dump.includes(Buffer.from(secret).toString('hex')), `${secret} in hex`)
    }
    assert.equal((await below.read(id)).delivery.credentials?.client_id, transmitter.client.id)
  })

  it('shows no secret that an error repeats', async () => {
    transmitter.react.create = ({ body, headers }) => ({
      status: 422,
      body: { body, token: headers.authorization },
    })
    const id = await below.subscribe(transmitter, 'push')
    const failed = await below.until(id, 'the error is shown', ({ last_error }) => last_error !== null)
    assert.match(failed.last_error ?? '', /Creating the stream: status 422/)
    transmitter.react.token = ({ body, headers }) => ({
      status: 400,
      body: `${headers.authorization} ${Object.values(body)}`,
    })
    const { id: client_id, secret: client_secret } = transmitter.client
    const credentials = { client_id, client_secret, token_endpoint_auth_method: 'client_secret_post' }
    await below.hub.call('PATCH', `/v1/transmitters/${id}`, { delivery: { method: 'push', credentials } })
    const again = await below.until(id, 'the other error is shown', ({ last_error }) =>
      /token/.test(last_error ?? ''),
    )
    const told = JSON.stringify([failed, again, below.log])
    const [created] = transmitter.called('create')
    assert.ok(created)
    const delivery = created.body.delivery as { authorization_header: string }
    const token = created.headers.authorization?.replace('Bearer ', '') ?? ''
    for (const secret of [client_secret, delivery.authorization_header.replace('Bearer ', ''), token]) {
      assert.ok(secret.length > 10 && !told.includes(secret), secret)
    }
  })

  it('is abandoned when its configuration names another issuer (R-11)', async () => {
    transmitter.react.create = () => ({
      status: 201,
      body: { stream_id: 's', iss: 'https://evil.example', aud: AUDIENCE, delivery: {} },
    })
    const id = await below.subscribe(transmitter, 'poll')
    const stream = await below.until(id, 'it is stopped', ({ state }) => state === 'stopped')
    assert.match(stream.last_error ?? '', /another "iss"/)
    assert.ok(below.log.some(({ level, event }) => level === 'error' && event === 'upstream.stopped'))
    const calls = transmitter.calls.length
    delete transmitter.react.create
    const other = await below.newTransmitter()
    await below.verified(other, 'poll')
    assert.equal(transmitter.calls.length, calls, 'nothing more is asked of it')
    for (const name of ['verify', 'poll', 'status', 'update'] as const)
      assert.equal(transmitter.called(name).length, 0, name)
  })

  for (const which of ['update', 'read'] as const) {
    it(`is abandoned when the answer to ${which} names another issuer (R-11)`, async () => {
      const id = await below.verified(transmitter, 'poll')
      const foreign = () => ({ body: { ...transmitter.stream().config, iss: 'https://evil.example' } })
      transmitter.react.update = which === 'update' ? foreign : () => ({ status: 202 })
      transmitter.react.read = foreign
      const { id: client_id, secret: client_secret } = transmitter.client
      await below.hub.call('PATCH', `/v1/transmitters/${id}`, {
        delivery: { method: 'poll', credentials: { client_id, client_secret } },
      })
      const stream = await below.until(id, 'it is stopped', ({ state }) => state === 'stopped')
      assert.match(stream.last_error ?? '', /another "iss"/)
      assert.equal(transmitter.called('read').length, which === 'read' ? 1 : 0)
      const calls = transmitter.calls.length
      await below.verified(await below.newTransmitter(), 'poll')
      assert.equal(transmitter.calls.length, calls, 'nothing more is asked of it')
    })
  }

  it('starts anew when a person gives delivery again', async () => {
    transmitter.react.create = () => ({ status: 201, body: { iss: 'https://evil.example' } })
    const id = await below.subscribe(transmitter, 'poll')
    await below.until(id, 'it is stopped', ({ state }) => state === 'stopped')
    delete transmitter.react.create
    const { id: client_id, secret: client_secret } = transmitter.client
    await below.hub.call('PATCH', `/v1/transmitters/${id}`, {
      delivery: { method: 'poll', credentials: { client_id, client_secret } },
    })
    await below.until(id, 'it is verified', ({ verified_at }) => verified_at !== null)
  })

  it('is abandoned when it is for another audience than expected (R-12)', async () => {
    const id = await below.subscribe(transmitter, 'poll', { audience: 'https://somebody.example' })
    const stream = await below.until(id, 'it is stopped', ({ state }) => state === 'stopped')
    assert.match(stream.last_error ?? '', /another audience/)
  })

  it('pins of several audiences the expected one', async () => {
    transmitter.react.create = (call) => {
      const streamId = 'several'
      const config = {
        ...call.body,
        stream_id: streamId,
        iss: transmitter.url,
        aud: ['https://other.example', AUDIENCE],
        delivery: { method: 'urn:ietf:rfc:8936', endpoint_url: `${transmitter.url}/poll?stream=${streamId}` },
      }
      transmitter.streams.set(streamId, { config, status: 'enabled', sets: new Map() })
      return { status: 201, body: config }
    }
    const id = await below.verified(transmitter, 'poll', { audience: [AUDIENCE] })
    assert.deepEqual((await below.read(id)).audience, [AUDIENCE])
  })

  it('warns when a wanted type is not delivered (R-13)', async () => {
    transmitter.react.create = (call) => {
      const config = {
        stream_id: 'poor',
        iss: transmitter.url,
        aud: AUDIENCE,
        events_delivered: [CAEP.sessionRevoked],
        delivery: { method: 'urn:ietf:rfc:8936', endpoint_url: `${transmitter.url}/poll?stream=poor` },
        events_requested: call.body.events_requested,
      }
      transmitter.streams.set('poor', { config, status: 'enabled', sets: new Map() })
      return { status: 201, body: config }
    }
    const events = [CAEP.sessionRevoked, CAEP.credentialChange]
    const id = await below.verified(transmitter, 'poll', { delivery: { events_requested: events } })
    const { stream } = await below.read(id)
    assert.deepEqual(stream?.events_delivered, [CAEP.sessionRevoked])
    assert.deepEqual(stream?.events_missing, [CAEP.credentialChange])
    assert.ok(
      below.log.some(
        ({ event, fields }) => event === 'upstream.events_missing' && fields.transmitter_id === id,
      ),
    )
  })

  it('takes over the one stream that there may be (409) by changing it (R-17)', async () => {
    const first = await below.verified(transmitter, 'poll')
    const [streamId] = [...transmitter.streams.keys()]
    // Forgotten below, and not above: its credentials still hold the stream.
    await below.database.db('upstream_streams').where({ transmitter_id: first }).delete()
    const kept = transmitter.stream()
    kept.config = { ...kept.config, description: 'somebody wrote this', delivery: { method: 'x' } }
    transmitter.react.create = () => ({ status: 409 })
    const id = await below.verified(transmitter, 'poll')
    assert.equal((await below.read(id)).stream?.stream_id, streamId)
    assert.equal(transmitter.called('update').length, 1)
    const { body } = transmitter.called('update')[0] as { body: object }
    assert.deepEqual(Object.keys(body).sort(), ['delivery', 'description', 'events_requested', 'stream_id'])
  })

  for (const [whose, members] of [
    ['another hub', { description: 'Firebreak https://other-hub.example 1' }],
    [
      'a system that is pushed to',
      { delivery: { method: 'urn:ietf:rfc:8935', endpoint_url: 'https://elsewhere.example/in' } },
    ],
  ] as const) {
    it(`does not take over the stream of ${whose} (409)`, async () => {
      const config = { stream_id: 'theirs', iss: transmitter.url, aud: AUDIENCE, delivery: {}, ...members }
      transmitter.streams.set('theirs', { config, status: 'enabled', sets: new Map() })
      transmitter.react.create = () => ({ status: 409 })
      const id = await below.subscribe(transmitter, 'poll')
      const stream = await below.until(id, 'it failed', ({ last_error }) => last_error !== null)
      assert.match(stream.last_error ?? '', /another system holds it/)
      assert.equal(transmitter.called('update').length + transmitter.called('delete').length, 0)
    })
  }

  it('deletes it and makes another when it cannot be changed (405) (R-17)', async () => {
    transmitter.react.update = () => ({ status: 405 })
    let conflicts = 0
    transmitter.streams.set('old', {
      config: { stream_id: 'old', iss: transmitter.url, aud: AUDIENCE, delivery: {} },
      status: 'enabled',
      sets: new Map(),
    })
    transmitter.react.create = () => {
      if (!transmitter.streams.has('old')) return undefined
      conflicts += 1
      return { status: 409 }
    }
    const id = await below.verified(transmitter, 'push')
    assert.equal(conflicts, 1)
    assert.equal(transmitter.called('delete')[0]?.query.get('stream_id'), 'old')
    assert.notEqual((await below.read(id)).stream?.stream_id, 'old')
  })

  it('passes over what is listed beside it and is no stream, or another issuer’s', async () => {
    transmitter.react.list = async (_call, usual) => ({
      body: [17, { iss: 'https://else.example', stream_id: 'e' }, ...((await usual()).body as object[])],
    })
    await below.verified(transmitter, 'poll')
    const other = await below.newTransmitter()
    other.react.list = () => ({ body: `["${'x'.repeat(300_000)}"]` })
    await below.verified(other, 'poll')
  })

  it('does not take the stream of another transmitter of the hub', async () => {
    const first = await below.verified(transmitter, 'poll')
    transmitter.react.create = () => ({ status: 409 })
    const second = await below.subscribe(transmitter, 'push')
    const stream = await below.until(second, 'it failed', ({ last_error }) => last_error !== null)
    assert.match(stream.last_error ?? '', /another transmitter of this hub/)
    assert.equal((await below.read(first)).stream?.state, 'active')
    assert.equal(transmitter.called('update').length, 0)
  })

  it('finds the one whose making was answered to nobody, and makes no second', async () => {
    let cuts = 0
    transmitter.react.create = (call) => {
      cuts += 1
      if (cuts > 1) return undefined
      const config = {
        ...call.body,
        stream_id: 'unheard',
        iss: transmitter.url,
        aud: AUDIENCE,
        delivery: { method: 'urn:ietf:rfc:8936', endpoint_url: `${transmitter.url}/poll?stream=unheard` },
      }
      transmitter.streams.set('unheard', { config, status: 'enabled', sets: new Map() })
      return { status: 500 }
    }
    const id = await below.verified(transmitter, 'poll')
    assert.equal((await below.read(id)).stream?.stream_id, 'unheard')
    assert.equal(transmitter.streams.size, 1)
  })

  it('is made again when the transmitter has lost it (404 to a poll, to a status) (R-17)', async () => {
    for (const method of ['poll', 'push'] as const) {
      const one = await below.newTransmitter()
      const id = await below.verified(one, method)
      const before = (await below.read(id)).stream?.stream_id
      one.streams.clear()
      if (method === 'push') await below.hub.call('POST', `/v1/transmitters/${id}/verify`, {})
      await below.until(
        id,
        'it was made again and verified',
        (stream) => stream.stream_id !== null && stream.stream_id !== before && stream.verified_at !== null,
      )
      assert.equal(one.streams.size, 1)
    }
  })

  it('asks for a SET again that is pushed before the audience of the new stream is known', async () => {
    const audience = 'https://hub-below.example/second'
    const id = await below.verified(transmitter, 'push')
    let answer: Response | undefined
    transmitter.react.create = async (call, usual) => {
      const delivery = call.body.delivery as Record<string, string>
      const set = await transmitter.sign({ aud: audience, jti: 'early', events: { a: {} } })
      answer = await fetch(delivery.endpoint_url ?? '', {
        method: 'POST',
        headers: {
          'content-type': 'application/secevent+jwt',
          authorization: delivery.authorization_header ?? '',
        },
        body: set,
      })
      const made = await usual()
      const stream = transmitter.stream()
      stream.config = { ...stream.config, aud: audience }
      return { ...made, body: stream.config }
    }
    transmitter.streams.clear()
    await below.hub.call('POST', `/v1/transmitters/${id}/verify`, {})
    await waitUntil('it was made again', async () => (await below.read(id)).audience[0] === audience)
    assert.equal(answer?.status, 503)
    assert.ok(Number(answer?.headers.get('retry-after')) > 0)
  })

  it('is made again ever more seldom where no stream lasts, and the loss is shown', async () => {
    transmitter.react.poll = () => ({ status: 404 })
    transmitter.react.status = () => ({ status: 404 })
    transmitter.react.list = () => ({ status: 405 })
    const id = await below.subscribe(transmitter, 'poll')
    const lost = () =>
      below.log.filter(
        ({ event, fields }) => event === 'upstream.stream_gone' && fields.transmitter_id === id,
      )
    await waitUntil('it was lost twice', () => lost().length >= 2)
    await below.until(id, 'the loss is shown', ({ last_error }) => /does not know/.test(last_error ?? ''))
    assert.deepEqual(
      lost().map(({ fields }) => fields.losses),
      lost().map((_one, number) => number + 1),
    )
    await below.verified(await below.newTransmitter(), 'poll')
    assert.ok(transmitter.called('create').length < 10, `${transmitter.called('create').length} streams`)
  })

  it('is made where the metadata point now, after the endpoint was moved', async () => {
    transmitter.react.metadata = async (_call, usual) => ({
      body: { ...((await usual()).body as object), configuration_endpoint: `${transmitter.url}/moved` },
    })
    const id = await below.subscribe(transmitter, 'poll')
    await below.until(id, 'it failed', ({ last_error }) => last_error !== null)
    delete transmitter.react.metadata
    await below.until(id, 'it is verified', ({ verified_at }) => verified_at !== null)
  })

  it('goes on where status and verification are not offered (405, R-17)', async () => {
    transmitter.react.status = () => ({ status: 405 })
    transmitter.react.verify = () => ({ status: 405 })
    const id = await below.subscribe(transmitter, 'poll')
    await waitUntil(
      'both were asked',
      () => transmitter.called('status')[0] && transmitter.called('verify')[0],
    )
    const txn = `no-status-${id}`
    await transmitter.emit({ set: { txn } })
    await below.taken(txn)
    const { stream } = await below.read(id)
    assert.equal(stream?.state, 'active')
    assert.equal(stream?.last_error, null)
    assert.equal(transmitter.called('status').length, 1, 'it is not asked again')
    assert.equal(transmitter.called('verify').length, 1)
  })

  it('reads a change later when it is answered 202 (R-17)', async () => {
    const id = await below.verified(transmitter, 'poll')
    let reads = 0
    let wish: Record<string, unknown> = {}
    transmitter.react.update = ({ body }) => {
      wish = body
      return { status: 202 }
    }
    transmitter.react.read = () => {
      reads += 1
      if (reads < 2) return undefined
      const stream = transmitter.stream()
      stream.config = { ...stream.config, delivery: wish.delivery as Record<string, unknown> }
      return { body: stream.config }
    }
    const { id: client_id, secret: client_secret } = transmitter.client
    await below.hub.call('PATCH', `/v1/transmitters/${id}`, {
      delivery: { method: 'push', credentials: { client_id, client_secret } },
    })
    await below.until(id, 'it is verified by push', (stream) => stream.verified_at !== null && reads >= 2)
    const body = await below.read(id)
    assert.equal(body.delivery.method, 'push')
    assert.equal(transmitter.streams.size, 1)
    const polls = transmitter.called('poll').length
    const txn = `by-push-${id}`
    await transmitter.emit({ set: { txn } })
    await below.taken(txn)
    assert.equal(transmitter.called('poll').length, polls, 'nobody polls any more')
  })

  it('comes back after 429 and 503, and shows the last error meanwhile', async () => {
    let failures = 0
    transmitter.react.create = () => {
      failures += 1
      return failures < 3
        ? { status: failures === 1 ? 429 : 503, headers: { 'retry-after': '1' } }
        : undefined
    }
    const id = await below.subscribe(transmitter, 'poll')
    const failing = await below.until(id, 'it failed', ({ last_error }) => last_error !== null)
    assert.match(failing.last_error ?? '', /Creating the stream: status (429|503)/)
    const stream = await below.until(id, 'it is verified', ({ verified_at }) => verified_at !== null)
    assert.equal(stream.last_error, null)
    assert.equal(failures, 3)
  })

  it('gets a new token after a 401, at management and at polls, and renews ahead of the end (R-7)', async () => {
    transmitter.tokenLifeS = 2
    const id = await below.verified(transmitter, 'poll')
    const tokens = () => transmitter.called('token').length
    const before = tokens()
    await waitUntil('the token was renewed', () => tokens() > before + 1)
    const refused = () =>
      below.log.filter(
        ({ event, fields }) => event === 'upstream.poll_failed' && fields.transmitter_id === id,
      )
    assert.deepEqual(refused(), [], 'ahead of the end, so that no poll failed')
    transmitter.tokenLifeS = 3_600
    const authorization = (name: 'poll' | 'verify') =>
      transmitter.called(name).at(-1)?.headers.authorization?.replace('Bearer ', '') ?? ''
    const short = authorization('poll')
    await waitUntil('a long-lived one is in use', () => authorization('poll') !== short)
    const now = tokens()
    // Revoked long before its end.
    transmitter.ended.add(authorization('poll'))
    await waitUntil('another one was fetched', () => tokens() > now)
    const txn = `after-401-${id}`
    await transmitter.emit({ set: { txn } })
    await below.taken(txn)
    assert.deepEqual(refused(), [], 'asked once more with a new token')
    // And what is managed, with whatever token is next.
    let refusals = 0
    transmitter.react.verify = () => {
      refusals += 1
      return refusals === 1 ? { status: 401 } : undefined
    }
    await below.hub.call('POST', `/v1/transmitters/${id}/verify`, {})
    await below.until(id, 'it is verified', ({ verified_at }) => verified_at !== null)
    assert.equal(refusals, 2)
    for (const call of transmitter.called('token'))
      assert.equal(call.body.scope, 'ssf.read ssf.manage', 'R-6')
  })

  it('uses a token for good, a token endpoint, and a secret in the body, as it is told', async () => {
    const token = 'a-long-lived-token'
    const one = await below.newTransmitter()
    for (const name of ['create', 'list', 'poll', 'verify', 'status'] as const) {
      one.react[name] = ({ headers }) =>
        headers.authorization === `Bearer ${token}` ? { status: 500 } : { status: 401 }
    }
    const id = await below.subscribe(one, 'poll', { credentials: { token } })
    await below.until(id, 'the token was taken', ({ last_error }) => /status 500/.test(last_error ?? ''))
    assert.equal(one.called('token').length, 0)

    const { id: client_id, secret: client_secret } = transmitter.client
    await below.verified(transmitter, 'poll', {
      credentials: {
        client_id,
        client_secret,
        token_endpoint: `${transmitter.url}/token`,
        token_endpoint_auth_method: 'client_secret_post',
      },
    })
    assert.equal(transmitter.called('as-metadata').length, 0)
    assert.equal(transmitter.called('token')[0]?.headers.authorization, undefined)
  })

  it('sends no secret to an authorization server whose metadata name another issuer', async () => {
    transmitter.react['as-metadata'] = () => ({
      body: { issuer: 'https://evil.example', token_endpoint: `${transmitter.url}/token` },
    })
    const id = await below.subscribe(transmitter, 'poll')
    const stream = await below.until(id, 'it is stopped', ({ state }) => state === 'stopped')
    assert.match(stream.last_error ?? '', /another issuer/)
    assert.equal(transmitter.called('token').length, 0)
  })

  it('does not poll where the hub may not go', async () => {
    transmitter.react.create = () => ({
      status: 201,
      body: {
        stream_id: 'inside',
        iss: transmitter.url,
        aud: AUDIENCE,
        delivery: { method: 'urn:ietf:rfc:8936', endpoint_url: 'https://10.0.0.1/poll' },
      },
    })
    const id = await below.subscribe(transmitter, 'poll')
    const stream = await below.until(id, 'it failed', ({ last_error }) => last_error !== null)
    assert.match(stream.last_error ?? '', /may not reach/)
    assert.equal(stream.state, 'setup')
  })

  /** Makes the next stream with members that the transmitter adds. */
  function makeWith(streamId: string, members: Record<string, unknown>): void {
    transmitter.react.create = ({ body }) => {
      const delivery = {
        method: 'urn:ietf:rfc:8936',
        endpoint_url: `${transmitter.url}/poll?stream=${streamId}`,
      }
      const { events_requested } = body
      const found = { iss: transmitter.url, aud: AUDIENCE, events_delivered: events_requested, delivery }
      const config = { ...found, stream_id: streamId, ...members }
      transmitter.streams.set(streamId, { config, status: 'enabled', sets: new Map() })
      return { status: 201, body: config }
    }
  }

  it('sees a pause that no event told of, and stays awake for the transmitter (R-46)', async () => {
    makeWith('sleepy', { inactivity_timeout: 1 })
    const id = await below.verified(transmitter, 'poll')
    await below.until(id, 'it is enabled', ({ status }) => status === 'enabled')
    transmitter.stream().status = 'paused'
    await below.until(id, 'the pause is seen', ({ status }) => status === 'paused')
    assert.ok(
      below.log.some(
        ({ event, fields }) => event === 'upstream.status_changed' && fields.status === 'paused',
      ),
    )
    assert.equal(transmitter.called('set-status').length, 0, 'it is not fought')
    assert.ok((await below.read(id)).stream?.last_poll_at, 'polls go on')
  })

  it('comes back with the verification when it was asked too often (429, R-51)', async () => {
    makeWith('busy', { min_verification_interval: 1 })
    let refused = 0
    transmitter.react.verify = () => {
      refused += 1
      return refused < 3 ? { status: 429, headers: { 'retry-after': '1' } } : undefined
    }
    const id = await below.subscribe(transmitter, 'poll')
    await below.until(id, 'the error is shown', ({ last_error }) =>
      /verification: status 429/.test(last_error ?? ''),
    )
    const stream = await below.until(id, 'it is verified', ({ verified_at }) => verified_at !== null)
    assert.equal(stream.last_error, null)
    assert.equal(refused, 3)
  })

  it('keeps the interval of the transmitter however often a person asks (R-51)', async () => {
    makeWith('paced', { min_verification_interval: 3 })
    const askedAtMs: number[] = []
    transmitter.react.verify = () => {
      askedAtMs.push(performance.now())
      return undefined
    }
    const id = await below.verified(transmitter, 'poll')
    while (askedAtMs.length < 3) {
      const { length } = askedAtMs
      for (let times = 0; times < 3; times += 1) {
        await below.hub.call('POST', `/v1/transmitters/${id}/verify`, {})
      }
      await waitUntil('it was asked again', () => askedAtMs.length > length)
      await below.until(id, 'it is verified', ({ verified_at }) => verified_at !== null)
    }
    const gaps = askedAtMs.slice(1).map((atMs, number) => atMs - (askedAtMs[number] ?? 0))
    assert.ok(
      gaps.every((gapMs) => gapMs >= 3_000),
      String(gaps),
    )
  })

  it('keeps the expected audience when only the credentials change', async () => {
    const id = await below.verified(transmitter, 'poll', { audience: AUDIENCE })
    const { id: client_id, secret: client_secret } = transmitter.client
    transmitter.react.update = () => ({
      body: { ...transmitter.stream().config, aud: 'https://somebody.example' },
    })
    await below.hub.call('PATCH', `/v1/transmitters/${id}`, {
      delivery: { method: 'poll', credentials: { client_id, client_secret } },
    })
    const stream = await below.until(id, 'it is stopped', ({ state }) => state === 'stopped')
    assert.match(stream.last_error ?? '', /another audience/)
    const [row] = await below.database
      .db('audit_log')
      .where({ target: id, action: 'transmitter.updated' })
      .select()
    assert.deepEqual(row.detail.changed, ['stream'])
    assert.ok(!JSON.stringify(row).includes(client_secret))
  })

  it('is found by the URL of the metadata document too, and the issuer is who it says', async () => {
    const id = await below.verified(transmitter, 'poll', {
      discover: `${transmitter.url}/.well-known/ssf-configuration`,
    })
    assert.equal((await below.read(id)).issuer, transmitter.url)
    transmitter.react.metadata = () => ({
      body: { issuer: `${transmitter.url}/tenant`, jwks_uri: `${transmitter.url}/jwks` },
    })
    const discover = `${transmitter.url}/.well-known/ssf-configuration`
    await assert.rejects(below.subscribe(transmitter, 'poll', { discover }), /another \\"issuer/)
  })

  it('is deleted there with the transmitter, and its row is forgotten', async () => {
    const id = await below.verified(transmitter, 'poll')
    await below.hub.call('DELETE', `/v1/transmitters/${id}`)
    await waitUntil('it is deleted there', () => transmitter.streams.size === 0)
    const rows = () => below.database.db('upstream_streams').where({ transmitter_id: id }).select()
    await waitUntil('it is forgotten', async () => (await rows()).length === 0)
    const actions = await below.database.db('audit_log').where({ target: id }).orderBy('at').select('action')
    assert.deepEqual(
      actions.map(({ action }) => action),
      ['transmitter.created', 'transmitter.deleted'],
    )
  })

  it('is deleted there too when the transmitter is removed while it is made', async () => {
    let id = ''
    transmitter.react.create = async (_call, usual) => {
      await waitUntil('the answer to the person', () => id !== '')
      await below.hub.call('DELETE', `/v1/transmitters/${id}`)
      return await usual()
    }
    id = await below.subscribe(transmitter, 'poll')
    await waitUntil('it was deleted', () => transmitter.called('delete').length > 0)
    const rows = () => below.database.db('upstream_streams').where({ transmitter_id: id }).select()
    await waitUntil('it is forgotten', async () => (await rows()).length === 0)
    assert.equal(transmitter.streams.size, 0)
  })

  it('ends when the transmitter is told to push by hand', async () => {
    const id = await below.verified(transmitter, 'poll')
    await below.hub.call('PATCH', `/v1/transmitters/${id}`, { delivery: { method: 'push' } })
    await waitUntil('it is deleted there', () => transmitter.streams.size === 0)
    assert.equal((await below.read(id)).stream, undefined)
  })

  it('refuses metadata of another issuer at once, and stores nothing (R-3)', async () => {
    transmitter.react.metadata = () => ({
      body: { issuer: 'https://evil.example', jwks_uri: 'https://evil.example/k' },
    })
    await assert.rejects(below.subscribe(transmitter, 'poll'), /answered 400.*another \\?"issuer/)
    const rows = await below.database.db('transmitters').where({ issuer: transmitter.url }).select()
    assert.deepEqual(rows, [])
  })
})
