import assert from 'node:assert/strict'
import { pickFreePort } from '../../src/storage/postgres-server.js'
import { addReceiver } from '../support/hub-api.js'
import { SESSION_REVOKED } from '../support/upstream.js'
import { waitUntil } from '../support/wait.js'
import { type Claims, createReceiverScene, POLL, PUSH, type ReceiverScene } from './receiver-scene.js'

/** What the program prints of an event that the package handed over. */
interface Taken {
  readonly delivery: string
  readonly session_id: string | null
  readonly user: string | null
  readonly claims: Claims & { readonly events: Record<string, Record<string, unknown>> }
  /** Set in the answer to what the program was told; all else is missing then. */
  readonly done?: Record<string, string>
}

const VERIFICATION = 'https://schemas.openid.net/secevent/ssf/event-type/verification'

describe('easyssf-receiver', function () {
  this.timeout(120_000)
  const managed = { management: 'receiver', 'events-requested': ['CaepSessionRevoked'] }
  let scene: ReceiverScene

  before(async () => {
    scene = await createReceiverScene()
  })
  afterEach(async () => await scene.endReceivers())
  after(async () => await scene?.close())

  function start(config: object) {
    const process = scene.startReceiver<Taken>('easyssf-receiver-process', {
      'transmitter-issuer': scene.url,
      ...config,
    })
    return {
      stop: () => process.stop(),
      events: () => process.lines.filter(({ done }) => !done),
      event: async (what: string, isIt: (claims: Taken['claims']) => boolean) =>
        await process.line(what, ({ done, claims }) => !done && isIt(claims)),
      tell: async (command: object) =>
        (await process.ask(command, ({ done }) => done !== undefined)).done ?? {},
    }
  }

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
    const taken = await process.event('the event', ({ txn }) => txn === 'by-poll')
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
    await again.event('the event', ({ txn }) => txn === 'while-away')
    await scene.deliveryIn('received', 'while-away', before.stream_id)
    await scene.revoke('while-held')
    await again.event('the event of the held poll', ({ txn }) => txn === 'while-held')
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
    assert.deepEqual(process.events(), [])
  })

  it('asks for a verification and gets its state back', async () => {
    const { token } = await addReceiver(scene.admin, 'verified')
    const process = start(pollConfig(token))
    const { state } = await process.tell({})
    const taken = await process.event('the verification', ({ events }) => VERIFICATION in events)
    assert.deepEqual(taken.claims.events[VERIFICATION], { state })
  })

  it('pauses its stream, and gets what was held once it enables it again', async () => {
    const { token } = await addReceiver(scene.admin, 'paused')
    const process = start(pollConfig(token))
    const { stream_id } = await scene.streamOf(token)
    assert.deepEqual(await process.tell({ status: 'paused' }), { status: 'paused', reason: 'an exercise' })
    await scene.revoke('held')
    await scene.deliveryIn('queued', 'held', stream_id)
    assert.equal((await process.tell({ status: 'enabled' })).status, 'enabled')
    await process.event('what was held', ({ txn }) => txn === 'held')
    await scene.deliveryIn('received', 'held', stream_id)
  })

  it('adds a subject and removes it', async () => {
    const { token } = await addReceiver(scene.admin, 'choosy', { default_subjects: 'NONE' })
    const process = start(pollConfig(token))
    const alice = { format: 'complex', user: { format: 'iss_sub', iss: 'https://idp.example', sub: 'alice' } }
    await scene.revoke('before')
    await process.tell({ add: alice })
    await scene.revoke('added')
    await process.event('the event', ({ txn }) => txn === 'added')
    await process.tell({ remove: alice })
    await scene.revoke('removed')
    await process.tell({ add: alice })
    await scene.revoke('added-again')
    await process.event('the event', ({ txn }) => txn === 'added-again')
    const txns = process.events().map(({ claims }) => claims.txn)
    assert.deepEqual(txns, ['added', 'added-again'])
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
    const taken = await process.event('the event', ({ txn }) => txn === 'by-push')
    assert.equal(taken.delivery, PUSH)
    assert.equal(taken.session_id, 'session of by-push')
    const { jti } = await scene.deliveryIn('received', 'by-push', stream_id)
    assert.equal(jti, taken.claims.jti)
    assert.equal(process.events().length, 1)
  })
})
