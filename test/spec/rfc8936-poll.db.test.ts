import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { CAEP, SSF } from '../../src/secevent/event-types.js'
import { sharedTwoHubs, type TwoHubs } from '../support/two-hubs.js'
import { waitUntil } from '../support/wait.js'

interface Receiver {
  readonly id: string
  readonly token: string
}

interface Claims {
  readonly iss: string
  readonly jti: string
  readonly txn: string
  readonly sub_id: object
  readonly events: Record<string, Record<string, unknown>>
}

interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
}

interface PollAnswer {
  readonly sets: Record<string, string>
  readonly moreAvailable?: boolean
}

const NOW = { returnImmediately: true }
const UNKNOWN_ID = '00000000-0000-4000-8000-000000000000'

const claimsOf = (set: string): Claims =>
  JSON.parse(Buffer.from(set.split('.')[1] ?? '', 'base64url').toString('utf8'))
const headerOf = (set: string): Record<string, string> =>
  JSON.parse(Buffer.from(set.split('.')[0] ?? '', 'base64url').toString('utf8'))

describe('RFC 8936 §2 and SSF 1.0 §6.1.2 poll delivery, two hubs behind one address', function () {
  this.timeout(120_000)
  let hubs: TwoHubs
  let receiver: Receiver
  before(async () => {
    hubs = await sharedTwoHubs()
    receiver = await addReceiver()
  })

  async function send(
    method: string,
    path: string,
    options: { token?: string; body?: object | string; headers?: Record<string, string> } = {},
  ): Promise<Answer> {
    const { token, body, headers } = options
    const response = await fetch(hubs.url + path, {
      method,
      redirect: 'manual',
      headers: {
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...(typeof body === 'object' && { 'content-type': 'application/json' }),
        ...headers,
      },
      // Of bytes fetch does not guess a type.
      ...(body !== undefined && {
        body: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
      }),
    })
    return { status: response.status, headers: response.headers, text: await response.text() }
  }

  async function call<T>(method: string, path: string, token: string, body?: object): Promise<T> {
    const answer = await send(method, path, { token, ...(body && { body }) })
    assert.ok(answer.status < 300, `${method} ${path} answered ${answer.status}: ${answer.text}`)
    return (answer.text ? JSON.parse(answer.text) : undefined) as T
  }

  async function addReceiver(settings: object = {}): Promise<Receiver> {
    const body = { name: randomUUID(), ...settings }
    const { id } = await call<{ id: string }>('POST', '/v1/receivers', hubs.adminToken, body)
    const scopes = ['ssf.manage']
    const path = `/v1/receivers/${id}/tokens`
    const { token } = await call<{ token: string }>('POST', path, hubs.adminToken, { scopes })
    return { id, token }
  }

  /** Takes every CAEP type of its own subject; other suites' events are about others. */
  async function addStream(of: Receiver = receiver): Promise<string> {
    const body = { events_requested: Object.values(CAEP) }
    const { stream_id } = await call<{ stream_id: string }>('POST', '/ssf/streams', of.token, body)
    return stream_id
  }

  async function emit(type: string = CAEP.sessionRevoked): Promise<string> {
    const { txn } = await call<{ txn: string }>('POST', '/v1/events', hubs.adminToken, {
      type,
      sub_id: { format: 'email', email: `${randomUUID()}@example.com` },
      event: {},
      event_timestamp: 1_790_000_000,
    })
    return txn
  }

  async function poll(streamId: string, body: object = NOW, of: Receiver = receiver): Promise<PollAnswer> {
    const answer = await send('POST', `/ssf/poll/${streamId}`, { token: of.token, body })
    assert.equal(answer.status, 200, answer.text)
    assert.match(answer.headers.get('content-type') ?? '', /^application\/json/)
    assert.equal(answer.headers.get('cache-control'), 'no-store')
    return JSON.parse(answer.text) as PollAnswer
  }

  const txnsOf = ({ sets }: PollAnswer) => Object.values(sets).map((set) => claimsOf(set).txn)

  /** Until the stream owes this many; what is owed stays owed. */
  async function owed(streamId: string, count: number, of: Receiver = receiver): Promise<PollAnswer> {
    let answer: PollAnswer = { sets: {} }
    await waitUntil(`${count} SETs are owed`, async () => {
      answer = await poll(streamId, NOW, of)
      return Object.keys(answer.sets).length >= count
    })
    assert.equal(Object.keys(answer.sets).length, count)
    return answer
  }

  it('gives each stream an endpoint of its own (T-89)', async () => {
    const urls = new Set<string>()
    for (let count = 0; count < 2; count += 1) {
      const { delivery } = await call<{ delivery: { endpoint_url: string } }>(
        'POST',
        '/ssf/streams',
        receiver.token,
        {},
      )
      assert.ok(delivery.endpoint_url.startsWith(`${hubs.url}/ssf/poll/`))
      urls.add(delivery.endpoint_url)
    }
    assert.equal(urls.size, 2)
  })

  it('holds an empty poll until the first SET comes, whichever process took the event (T-90, T-93)', async () => {
    const id = await addStream()
    for (let round = 0; round < 4; round += 1) {
      const held = poll(id, {})
      const txn = await emit()
      let answer = await held
      // The hold of these hubs is 3 s: on a slow machine it may end first.
      while (txnsOf(answer).length === 0) answer = await poll(id, {})
      assert.deepEqual(txnsOf(answer), [txn])
      await poll(id, { ack: Object.keys(answer.sets), maxEvents: 0 })
    }
  })

  it('answers 200 with empty sets when the hold ends, at once with returnImmediately, and to maxEvents 0 (T-91, T-93)', async () => {
    const id = await addStream()
    for (const body of [{}, NOW, { maxEvents: 0 }, { maxEvents: 0, ack: [], setErrs: {} }]) {
      assert.deepEqual(await poll(id, body), { sets: {} })
    }
  })

  it('keeps a SET under its jti until it is acknowledged, through either process (T-16, T-94)', async () => {
    const id = await addStream()
    await emit()
    const first = await owed(id, 1)
    for (let round = 0; round < 3; round += 1) {
      const again = await poll(id)
      assert.deepEqual(Object.keys(again.sets), Object.keys(first.sets))
      assert.deepEqual(
        claimsOf(Object.values(again.sets)[0] ?? ''),
        claimsOf(Object.values(first.sets)[0] ?? ''),
      )
    }
    const [jti = ''] = Object.keys(first.sets)
    assert.equal(claimsOf(first.sets[jti] ?? '').jti, jti)
    assert.deepEqual(await poll(id, { ...NOW, ack: [jti] }), { sets: {} })
    // Acknowledged twice, or never sent: no error.
    assert.deepEqual(await poll(id, { ...NOW, ack: [jti, 'never-sent', ''] }), { sets: {} })
  })

  it('takes acks before it selects, so an acknowledged SET is not in the same answer (T-92)', async () => {
    const id = await addStream()
    const [one, two] = [await emit(), await emit()]
    const { sets } = await owed(id, 2)
    const jti = Object.keys(sets).find((key) => claimsOf(sets[key] ?? '').txn === one) ?? ''
    assert.deepEqual(txnsOf(await poll(id, { ...NOW, ack: [jti] })), [two])
  })

  it('gives no more than maxEvents, the oldest first, and says when more remain (T-91, T-97)', async () => {
    const id = await addStream()
    const txns: string[] = []
    for (let count = 0; count < 3; count += 1) {
      txns.push(await emit())
      await owed(id, count + 1)
    }
    const first = await poll(id, { ...NOW, maxEvents: 2 })
    assert.deepEqual(txnsOf(first), txns.slice(0, 2))
    assert.equal(first.moreAvailable, true)
    const rest = await poll(id, { ...NOW, maxEvents: 2, ack: Object.keys(first.sets) })
    assert.deepEqual(txnsOf(rest), txns.slice(2))
    assert.ok(!('moreAvailable' in rest))
    assert.deepEqual(Object.keys(await poll(id, { maxEvents: 0 })), ['sets'])
  })

  it('records what setErrs says, with Content-Language, and sends that SET no more (T-95)', async () => {
    const id = await addStream()
    const txn = await emit()
    const { sets } = await owed(id, 1)
    const setErrs = {
      [Object.keys(sets)[0] ?? '']: { err: 'invalid_audience', description: 'nicht für mich' },
    }
    const answer = await send('POST', `/ssf/poll/${id}`, {
      token: receiver.token,
      headers: { 'content-language': 'de' },
      body: { ...NOW, setErrs },
    })
    assert.deepEqual([answer.status, JSON.parse(answer.text)], [200, { sets: {} }])
    const parked = await call<{ items: { code: string; reason: string }[] }>(
      'GET',
      `/v1/parked?txn=${txn}&stream_id=${id}`,
      hubs.adminToken,
    )
    assert.deepEqual(
      parked.items.map(({ code, reason }) => [code, reason]),
      [['invalid_audience', 'invalid_audience: nicht für mich']],
    )
  })

  it('reads a request without Content-Type, and none at all as an empty one (T-57)', async () => {
    const id = await addStream()
    const path = `/ssf/poll/${id}`
    const bare = await send('POST', path, { token: receiver.token, body: JSON.stringify(NOW) })
    assert.deepEqual([bare.status, bare.text], [200, '{"sets":{}}'])
    const empty = await send('POST', path, { token: receiver.token })
    assert.deepEqual([empty.status, empty.text], [200, '{"sets":{}}'])
  })

  it('answers with a trailing slash as without, and never redirects (T-100)', async () => {
    const id = await addStream()
    const { token } = receiver
    const calls: [string, string, object?][] = [
      ['POST', `/ssf/poll/${id}/`, NOW],
      ['GET', '/ssf/streams/'],
      ['GET', `/ssf/status/?stream_id=${id}`],
      ['POST', '/ssf/verify/', { stream_id: id }],
      ['POST', '/ssf/subjects/add/', { stream_id: id, subject: { format: 'opaque', id: 'x' } }],
      ['GET', '/ssf/jwks.json/'],
      ['GET', '/.well-known/ssf-configuration/'],
    ]
    for (const [method, path, body] of calls) {
      const answer = await send(method, path, { token, ...(body && { body }) })
      assert.ok(answer.status >= 200 && answer.status < 300, `${path} answered ${answer.status}`)
    }
  })

  it('gives nothing while paused and still takes acks; holds it; drops it when disabled; 404 once deleted (T-60, T-61, T-62, T-96)', async () => {
    const id = await addStream()
    const set = (status: string) => call('POST', '/ssf/status', receiver.token, { stream_id: id, status })
    await emit()
    const { sets } = await owed(id, 1)
    await set('paused')
    assert.deepEqual(await poll(id), { sets: {} })
    assert.deepEqual(await poll(id, { ...NOW, ack: Object.keys(sets) }), { sets: {} })
    const held = await emit()
    await set('enabled')
    assert.deepEqual(txnsOf(await owed(id, 1)), [held])
    await set('disabled')
    assert.deepEqual(await poll(id), { sets: {} })
    await set('enabled')
    const fresh = await emit()
    assert.deepEqual(txnsOf(await owed(id, 1)), [fresh])
    await call('DELETE', `/ssf/streams?stream_id=${id}`, receiver.token)
    const gone = await send('POST', `/ssf/poll/${id}`, { token: receiver.token, body: NOW })
    assert.equal(gone.status, 404)
  })

  it('carries the verification that was asked for, with its state and none when none was given (T-72 to T-75)', async () => {
    const id = await addStream()
    await call('POST', '/ssf/verify', receiver.token, { stream_id: id, state: ' é"\\ ' })
    const [set = ''] = Object.values((await owed(id, 1)).sets)
    assert.deepEqual(claimsOf(set).sub_id, { format: 'opaque', id })
    assert.deepEqual(claimsOf(set).events, { [SSF.verification]: { state: ' é"\\ ' } })
    assert.equal(claimsOf(set).iss, hubs.url)
    assert.equal(headerOf(set).typ, 'secevent+jwt')
    await poll(id, { ack: [claimsOf(set).jti], maxEvents: 0 })
    await call('POST', '/ssf/verify', receiver.token, { stream_id: id })
    const [bare = ''] = Object.values((await owed(id, 1)).sets)
    assert.deepEqual(claimsOf(bare).events, { [SSF.verification]: {} })
  })

  it('hands a verification out within five seconds of the request (T-75)', async () => {
    const id = await addStream()
    await call('POST', '/ssf/verify', receiver.token, { stream_id: id, state: 'soon' })
    const handedOut = async () => Object.keys((await poll(id)).sets).length > 0
    await waitUntil('the verification', handedOut, { deadlineMs: 5_000 })
  })

  it('keeps a verification that was asked for while paused, and drops one of while disabled (T-63)', async () => {
    const id = await addStream()
    const set = (status: string) => call('POST', '/ssf/status', receiver.token, { stream_id: id, status })
    const verify = async (state: string) => {
      const body = { stream_id: id, state }
      assert.equal((await send('POST', '/ssf/verify', { token: receiver.token, body })).status, 204)
    }
    await set('disabled')
    await verify('disabled')
    await set('paused')
    await verify('paused')
    assert.deepEqual(await poll(id), { sets: {} })
    await set('enabled')
    await verify('enabled')
    const { sets } = await owed(id, 2)
    assert.deepEqual(
      Object.values(sets).map((token) => claimsOf(token).events[SSF.verification]?.state),
      ['paused', 'enabled'],
    )
  })

  it('gives nothing that is not granted, though its subject was added (T-69)', async () => {
    const { id: source } = await call<{ id: string }>('POST', '/v1/transmitters', hubs.adminToken, {
      name: randomUUID(),
      issuer: `https://${randomUUID()}.example`,
      audience: 'https://hub.example',
      jwks_uri: 'https://127.0.0.1/jwks',
    })
    const [typed, sourced, free] = await Promise.all(
      [{ event_types: [CAEP.sessionRevoked] }, { sources: [source] }, {}].map((grants) =>
        addReceiver({ default_subjects: 'NONE', grants }),
      ),
    )
    const subject = { format: 'email', email: `${randomUUID()}@example.com` }
    const streams: [Receiver, string][] = []
    for (const of of [typed, sourced, free] as Receiver[]) {
      const id = await addStream(of)
      await call('POST', '/ssf/subjects/add', of.token, { stream_id: id, subject })
      streams.push([of, id])
    }
    const txns: string[] = []
    for (const type of [CAEP.credentialChange, CAEP.sessionRevoked]) {
      const { txn } = await call<{ txn: string }>('POST', '/v1/events', hubs.adminToken, {
        type,
        sub_id: subject,
        event: type === CAEP.credentialChange ? { credential_type: 'password', change_type: 'update' } : {},
        event_timestamp: 1_790_000_000,
      })
      txns.push(txn)
    }
    const [ofTyped, ofSourced, ofFree] = streams as [
      [Receiver, string],
      [Receiver, string],
      [Receiver, string],
    ]
    // One fan-out is for all streams: what this one has, the others were asked about.
    await owed(ofFree[1], 2, ofFree[0])
    assert.deepEqual(txnsOf(await owed(ofTyped[1], 1, ofTyped[0])), txns.slice(1))
    assert.deepEqual(await poll(ofSourced[1], NOW, ofSourced[0]), { sets: {} })
  })

  it('tells the receiver by stream-updated that an operator stopped the stream, and that it goes on (T-64, T-78)', async () => {
    const id = await addStream()
    await call('POST', `/v1/streams/${id}/pause`, hubs.adminToken, { reason: 'maintenance' })
    const notice = await owed(id, 1)
    const [set = ''] = Object.values(notice.sets)
    assert.deepEqual(claimsOf(set).sub_id, { format: 'opaque', id })
    assert.deepEqual(claimsOf(set).events, {
      [SSF.streamUpdated]: { status: 'paused', reason: 'maintenance' },
    })
    await poll(id, { ack: Object.keys(notice.sets), maxEvents: 0 })
    const held = await emit()
    assert.deepEqual(await poll(id), { sets: {} })
    await call('POST', `/v1/streams/${id}/enable`, hubs.adminToken, {})
    const { sets } = await owed(id, 2)
    const types = Object.values(sets).map((one) => Object.entries(claimsOf(one).events)[0])
    assert.deepEqual(types.find((entry) => entry?.[0] === SSF.streamUpdated)?.[1], { status: 'enabled' })
    assert.ok(txnsOf({ sets }).includes(held))
  })

  it('lets one receiver learn nothing of another’s streams, SETs and acks (T-38)', async () => {
    const stranger = await addReceiver()
    const [id, own] = [await addStream(), await addStream(stranger)]
    const push = await call<{ stream_id: string }>('POST', '/ssf/streams', receiver.token, {
      delivery: { method: 'urn:ietf:rfc:8935', endpoint_url: 'https://127.0.0.1:8443/x' },
    })
    await emit()
    const [mine, theirs] = [await owed(id, 1), await owed(own, 1, stranger)]
    const [jti = ''] = Object.keys(mine.sets)
    assert.ok(!(jti in theirs.sets), 'the same event has another name for another receiver')
    const ask = (target: string, body: object = { ...NOW, ack: [jti] }) =>
      send('POST', `/ssf/poll/${target}`, { token: stranger.token, body })
    const unknown = visible(await ask(UNKNOWN_ID))
    assert.equal(unknown.status, 404)
    for (const target of [id, push.stream_id, 'no-uuid']) {
      assert.deepEqual(visible(await ask(target)), unknown)
      assert.deepEqual(visible(await ask(target, { maxEvents: 0 })), unknown)
    }
    // A foreign jti in an ack, and in an acknowledgement, is one that never was.
    await poll(
      own,
      { ...NOW, ack: [jti], setErrs: { [jti]: { err: 'invalid_key', description: 'x' } } },
      stranger,
    )
    const acknowledgements = [
      { jti },
      { jti: 'never-was' },
      { jti, stream_id: id },
      { jti, stream_id: UNKNOWN_ID },
    ].map((one) => ({ ...one, status: 'applied' }))
    const { results } = await call<{ results: { result: string }[] }>(
      'POST',
      '/v1/acknowledgements',
      stranger.token,
      { acknowledgements },
    )
    assert.deepEqual(
      results.map(({ result }) => result),
      acknowledgements.map(() => 'unknown'),
    )
    const { items } = await call<{ items: { stream: { stream_id: string } }[] }>(
      'GET',
      '/v1/time-to-revoke?group_by=stream',
      stranger.token,
    )
    assert.ok(!JSON.stringify(items).includes(id))
    assert.ok(JSON.stringify(items).includes(own))
    assert.deepEqual(Object.keys((await poll(id)).sets), [jti])
  })

  it('wants a token, by the same rules as the management endpoints (T-44)', async () => {
    const path = `/ssf/poll/${await addStream()}`
    const bare = await send('POST', path, { body: NOW })
    assert.equal(bare.status, 401)
    assert.match(bare.headers.get('www-authenticate') ?? '', /^Bearer realm="[^"]+"$/)
    const bad = await send('POST', path, { token: 'nonsense', body: '{"ack":' })
    assert.equal(bad.status, 401)
    assert.match(bad.headers.get('www-authenticate') ?? '', /error="invalid_token"/)
    const { token } = await call<{ token: string }>(
      'POST',
      `/v1/receivers/${receiver.id}/tokens`,
      hubs.adminToken,
      { scopes: ['ssf.read'] },
    )
    assert.equal((await send('POST', path, { token, body: NOW })).status, 200)
  })
})

/** All that a caller sees and that is not new at each answer. */
function visible({ status, headers, text }: Answer) {
  const lasting = [...headers].filter(([name]) => !['date', 'x-request-id'].includes(name))
  return { status, text, headers: Object.fromEntries(lasting) }
}
