import assert from 'node:assert/strict'
import { pickFreePort } from '../../src/storage/postgres-server.js'
import { addReceiver } from '../support/hub-api.js'
import { SESSION_REVOKED } from '../support/upstream.js'
import { waitUntil } from '../support/wait.js'
import type { PackageProcess } from './package-process.js'
import { type Claims, createReceiverScene, POLL, PUSH, type ReceiverScene } from './receiver-scene.js'

/** What the program prints of an event that the package handed over. */
interface Taken {
  readonly delivery: string
  readonly session_id: string | null
  readonly user: string | null
  readonly claims: Claims
}

describe('easyssf-receiver', function () {
  this.timeout(120_000)
  const managed = { management: 'receiver', 'events-requested': ['CaepSessionRevoked'] }
  let scene: ReceiverScene

  before(async () => {
    scene = await createReceiverScene()
  })
  afterEach(async () => await scene.endReceivers())
  after(async () => await scene?.close())

  const start = (config: object): PackageProcess<Taken> =>
    scene.startReceiver('easyssf-receiver-process', { 'transmitter-issuer': scene.url, ...config })

  const pollConfig = (token: string, more?: object) => ({
    'delivery-method': 'poll',
    'transmitter-access-token': token,
    stream: managed,
    poll: { 'initial-delay': '0s', interval: '200ms' },
    ...more,
  })

  it('gets a token, makes a poll stream, polls a revocation and acknowledges it', async () => {
    const account = { name: 'by poll' }
    const receiver = await scene.admin.call<{ id: string; client_id: string; client_secret: string }>(
      'POST',
      '/v1/receivers',
      account,
    )
    const scopes = ['ssf.read', 'ssf.manage']
    const path = `/v1/receivers/${receiver.id}/tokens`
    const { token } = await scene.admin.call<{ token: string }>('POST', path, { scopes })
    const process = start({
      'delivery-method': 'poll',
      oauth2: {
        'token-uri': `${scene.url}/oauth/token`,
        'client-id': receiver.client_id,
        'client-secret': receiver.client_secret,
        scopes,
      },
      stream: managed,
      poll: { 'initial-delay': '0s', interval: '200ms' },
    })
    const { stream_id, delivery, events_delivered } = await scene.streamOf(token)
    assert.equal(delivery.method, POLL)
    assert.deepEqual(events_delivered, [SESSION_REVOKED])

    await scene.revoke('by-poll')
    const taken = await process.line('the event', ({ claims }) => claims.txn === 'by-poll')
    assert.equal(taken.delivery, POLL)
    assert.equal(taken.claims.iss, scene.url)
    assert.equal(taken.user, 'alice')
    assert.equal(taken.session_id, 'session of by-poll')
    const { jti } = await scene.deliveryIn('received', 'by-poll', stream_id)
    assert.equal(jti, taken.claims.jti)
  })

  it('finds its stream again after a restart, gets what came meanwhile by a long poll, and deletes it', async () => {
    const { token } = await addReceiver(scene.admin, 'restarted')
    start(pollConfig(token))
    const before = await scene.streamOf(token)
    await scene.endReceivers()
    await scene.revoke('while-away')

    const again = start(
      pollConfig(token, {
        stream: { ...managed, 'delete-on-shutdown': true },
        poll: { 'initial-delay': '0s', 'long-polling': true, 'long-polling-hold': '10s' },
      }),
    )
    await again.line('the event', ({ claims }) => claims.txn === 'while-away')
    await scene.deliveryIn('received', 'while-away', before.stream_id)
    await scene.revoke('while-held')
    await again.line('the event of the held poll', ({ claims }) => claims.txn === 'while-held')
    await scene.deliveryIn('received', 'while-held', before.stream_id)
    assert.equal((await scene.streamOf(token)).stream_id, before.stream_id)

    await again.stop()
    await waitUntil('the stream is gone', async () => {
      const streams = await scene.as(token).call<unknown[]>('GET', '/ssf/streams')
      return streams.length === 0
    })
  })

  it('reports a SET that it does not trust, and the hub parks it', async () => {
    const { token } = await addReceiver(scene.admin, 'with other algorithms', { signing_alg: 'ES256' })
    const process = start(pollConfig(token))
    const { stream_id } = await scene.streamOf(token)
    await scene.revoke('not-trusted')
    const { failure } = await scene.deliveryIn('parked', 'not-trusted', stream_id)
    assert.match(failure ?? '', /invalid_/)
    assert.deepEqual(process.lines, [])
  })

  it('makes a push stream, verifies what is pushed and has it once', async () => {
    const { token } = await addReceiver(scene.admin, 'by push')
    const port = await pickFreePort()
    const process = start({
      'transmitter-access-token': token,
      stream: managed,
      push: {
        'delivery-endpoint-url': `http://127.0.0.1:${port}/ssf/push`,
        'expected-auth-header': 'Bearer what the hub pushes with',
      },
    })
    const { stream_id, delivery } = await scene.streamOf(token)
    assert.equal(delivery.method, PUSH)

    await scene.revoke('by-push')
    const taken = await process.line('the event', ({ claims }) => claims.txn === 'by-push')
    assert.equal(taken.delivery, PUSH)
    assert.equal(taken.session_id, 'session of by-push')
    const { jti } = await scene.deliveryIn('received', 'by-push', stream_id)
    assert.equal(jti, taken.claims.jti)
    assert.equal(process.lines.length, 1)
  })
})
