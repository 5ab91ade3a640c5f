import assert from 'node:assert/strict'
import { pickFreePort } from '../../src/storage/postgres-server.js'
import { addReceiver, type HubApi, hubApi } from '../support/hub-api.js'
import { type HubProcess, startHub } from '../support/hub-process.js'
import { SESSION_REVOKED } from '../support/upstream.js'
import { waitUntil } from '../support/wait.js'
import { type PackageProcess, startPackage } from './package-process.js'

const PUSH = 'urn:ietf:rfc:8935'
const POLL = 'urn:ietf:rfc:8936'

interface Claims {
  readonly iss: string
  readonly aud: string | string[]
  readonly jti: string
  readonly txn: string
  readonly sub_id: Record<string, unknown>
  readonly events: Record<string, Record<string, unknown>>
}
interface EasyssfEvent {
  readonly delivery: string
  readonly session_id: string | null
  readonly user: string | null
  readonly claims: Claims
}
interface AuthkestraEvent {
  readonly event_type: string
  /** Whether the package decoded it as one of its own types. */
  readonly known: boolean
  readonly claims: Claims
}
interface StreamBody {
  readonly stream_id: string
  readonly status?: string
  readonly delivery: { readonly method: string; readonly endpoint_url?: string }
  readonly events_delivered: readonly string[]
}
interface DeliveryRow {
  readonly jti: string
  readonly state: string
}

describe('receivers from public packages', function () {
  this.timeout(120_000)
  let hub: HubProcess
  let admin: HubApi
  const running: PackageProcess<unknown>[] = []

  before(async () => {
    hub = await startHub()
    admin = hubApi(() => hub.url, hub.adminToken)
  })
  afterEach(async () => {
    await Promise.all(running.splice(0).map((process) => process.stop()))
  })
  after(async () => await hub.remove())

  function start<T>(name: string, config: object): PackageProcess<T> {
    const process = startPackage<T>(name, config)
    running.push(process as PackageProcess<unknown>)
    return process
  }

  async function revoke(txn: string): Promise<void> {
    await admin.call('POST', '/v1/events', {
      type: SESSION_REVOKED,
      txn,
      sub_id: {
        format: 'complex',
        user: { format: 'iss_sub', iss: 'https://idp.example', sub: 'alice' },
        session: { format: 'opaque', id: `session of ${txn}` },
      },
      event: { initiating_entity: 'admin', reason_admin: { en: 'an exercise' } },
    })
  }

  /** Waits until the hub says of the one delivery of this txn on the stream that it was received. */
  async function received(txn: string, streamId: string): Promise<DeliveryRow> {
    let found: unknown
    return await waitUntil(
      `the hub knows that ${txn} was received`,
      async () => {
        const path = `/v1/deliveries?txn=${txn}&stream_id=${streamId}`
        const { items } = await admin.call<{ items: DeliveryRow[] }>('GET', path)
        found = items
        return items.find(({ state }) => state === 'received')
      },
      { detail: () => JSON.stringify(found) },
    )
  }

  async function streamOf(token: string): Promise<StreamBody> {
    const asReceiver = hubApi(() => hub.url, token)
    return await waitUntil('the receiver has made its stream', async () => {
      const streams = await asReceiver.call<StreamBody[]>('GET', '/ssf/streams')
      return streams[0]
    })
  }

  describe('easyssf-receiver', () => {
    const stream = { management: 'receiver', 'events-requested': ['CaepSessionRevoked'] }

    it('gets a token, makes a poll stream, polls a revocation and acknowledges it', async () => {
      const account = await admin.call<{ id: string; client_id: string; client_secret: string }>(
        'POST',
        '/v1/receivers',
        { name: 'easyssf by poll' },
      )
      const { token } = await addToken(account.id)
      const receiver = start<EasyssfEvent>('easyssf-receiver-process', {
        'transmitter-issuer': hub.url,
        'delivery-method': 'poll',
        oauth2: {
          'token-uri': `${hub.url}/oauth/token`,
          'client-id': account.client_id,
          'client-secret': account.client_secret,
          scopes: ['ssf.read', 'ssf.manage'],
        },
        stream,
        poll: { 'initial-delay': '0s', interval: '200ms' },
      })
      const { stream_id, delivery, events_delivered } = await streamOf(token)
      assert.equal(delivery.method, POLL)
      assert.deepEqual(events_delivered, [SESSION_REVOKED])

      await revoke('easyssf-poll')
      const event = await receiver.line('the event', ({ claims }) => claims.txn === 'easyssf-poll')
      assert.equal(event.delivery, POLL)
      assert.equal(event.claims.iss, hub.url)
      assert.equal(event.user, 'alice')
      assert.equal(event.session_id, 'session of easyssf-poll')
      const { jti } = await received('easyssf-poll', stream_id)
      assert.equal(jti, event.claims.jti)
    })

    it('makes a push stream, verifies what is pushed and has it once', async () => {
      const { token } = await addReceiver(admin, 'easyssf by push')
      const port = await pickFreePort()
      const receiver = start<EasyssfEvent>('easyssf-receiver-process', {
        'transmitter-issuer': hub.url,
        'transmitter-access-token': token,
        stream,
        push: {
          'delivery-endpoint-url': `http://127.0.0.1:${port}/ssf/push`,
          'expected-auth-header': 'Bearer easyssf-secret',
        },
      })
      const { stream_id, delivery } = await streamOf(token)
      assert.equal(delivery.method, PUSH)

      await revoke('easyssf-push')
      const event = await receiver.line('the event', ({ claims }) => claims.txn === 'easyssf-push')
      assert.equal(event.delivery, PUSH)
      assert.equal(event.session_id, 'session of easyssf-push')
      const { jti } = await received('easyssf-push', stream_id)
      assert.equal(jti, event.claims.jti)
      assert.equal(receiver.lines.length, 1)
    })
  })

  async function addToken(receiverId: string): Promise<{ token: string }> {
    return await admin.call('POST', `/v1/receivers/${receiverId}/tokens`, {
      scopes: ['ssf.read', 'ssf.manage'],
    })
  }

  describe('authkestra-ssf', () => {
    it('verifies what is pushed, decodes the event and answers so that the hub counts it as received', async () => {
      const { token, audience } = await addReceiver(admin, 'authkestra')
      const asReceiver = hubApi(() => hub.url, token)
      const { jwks_uri } = await asReceiver.call<{ jwks_uri: string }>(
        'GET',
        '/.well-known/ssf-configuration',
      )
      const jwks = await asReceiver.call<object>('GET', new URL(jwks_uri).pathname)
      const port = await pickFreePort()
      const receiver = start<AuthkestraEvent>('authkestra-receiver-process', {
        issuer: hub.url,
        audience,
        port,
        jwks,
      })
      const { stream_id } = await asReceiver.call<StreamBody>('POST', '/ssf/streams', {
        events_requested: [SESSION_REVOKED],
        delivery: { method: PUSH, endpoint_url: `http://127.0.0.1:${port}/events` },
      })

      await revoke('authkestra-push')
      const event = await receiver.line('the event', ({ claims }) => claims.txn === 'authkestra-push')
      assert.equal(event.event_type, SESSION_REVOKED)
      assert.equal(event.known, true)
      const { jti } = await received('authkestra-push', stream_id)
      assert.equal(jti, event.claims.jti)
      assert.equal(receiver.lines.length, 1)
    })
  })
})
