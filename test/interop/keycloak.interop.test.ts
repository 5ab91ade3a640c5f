import assert from 'node:assert/strict'
import { decodeJwt } from 'jose'
import { addReceiver, type HubApi, hubApi } from '../support/hub-api.js'
import { createHubProcess, type HubProcess } from '../support/hub-process.js'
import { type SetSink, startSink } from '../support/set-sink.js'
import { HUB_AUDIENCE, SESSION_REVOKED } from '../support/upstream.js'
import { waitUntil } from '../support/wait.js'
import { type KeycloakServer, startKeycloak } from './keycloak-server.js'

const CREDENTIAL_CHANGE = 'https://schemas.openid.net/secevent/caep/event-type/credential-change'

interface SetClaims {
  readonly txn: string
  readonly sub_id: Record<string, Record<string, string>> & { readonly format: string }
  readonly events: Record<string, Record<string, unknown>>
}
interface TransmitterBody {
  readonly id: string
  readonly audience: readonly string[]
  readonly stream: { readonly state: string; readonly verified_at: string | null }
}
interface HubEvent {
  readonly txn: string
  readonly type: string
  readonly source: { readonly jti: string }
}

describe('Keycloak as a transmitter', function () {
  this.timeout(240_000)
  let hub: HubProcess
  let admin: HubApi
  let keycloak: KeycloakServer
  let sink: SetSink
  const sets: SetClaims[] = []

  before(async () => {
    hub = await createHubProcess()
    hub.start()
    ;[keycloak] = await Promise.all([startKeycloak(HUB_AUDIENCE, hub.url), hub.ready()])
    admin = hubApi(() => hub.url, hub.adminToken)
    sink = await startSink((set) => void sets.push(decodeJwt(set) as unknown as SetClaims))
    const { token } = await addReceiver(admin, 'gateway')
    await hubApi(() => hub.url, token).call('POST', '/ssf/streams', {
      events_requested: [SESSION_REVOKED, CREDENTIAL_CHANGE],
      delivery: { method: 'urn:ietf:rfc:8935', endpoint_url: sink.url },
    })
  })
  after(async () => {
    await sink?.close()
    await Promise.all([hub?.remove(), keycloak?.stop()])
  })

  /** Waits for the next SET at the gateway after the deed. */
  async function afterwards(deed: () => Promise<unknown>): Promise<SetClaims> {
    const seen = sets.length
    await deed()
    return await waitUntil('the gateway has the event', () => sets[seen], {
      detail: () => hub.output().slice(-2_000),
    })
  }

  for (const method of ['push', 'poll'] as const) {
    describe(`by ${method}`, () => {
      let id: string

      it('is found by its metadata, gives the hub a stream, and verifies it', async () => {
        const transmitter = await admin.call<TransmitterBody>('POST', '/v1/transmitters', {
          name: `keycloak by ${method}`,
          issuer: keycloak.issuer,
          discover: true,
          tolerances: { session_id_all: true },
          delivery: {
            method,
            events_requested: [SESSION_REVOKED, CREDENTIAL_CHANGE],
            credentials: keycloak.credentials,
          },
        })
        id = transmitter.id
        let last: TransmitterBody | undefined
        const isVerified = async () => {
          last = await admin.call<TransmitterBody>('GET', `/v1/transmitters/${id}`)
          return last.stream.verified_at === null ? undefined : last
        }
        const detail = () => JSON.stringify(last)
        const { stream, audience } = await waitUntil('the stream is verified', isVerified, { detail })
        assert.equal(stream.state, 'active')
        assert.deepEqual(audience, [HUB_AUDIENCE])
        assert.equal((await keycloak.streams()).length, 1)
      })

      it('tells of a sign-out, which the gateway gets with the same txn', async () => {
        let session = ''
        const set = await afterwards(async () => {
          session = await keycloak.signInAndOut()
        })
        assert.deepEqual(set.sub_id.session, { format: 'opaque', id: session })
        assert.equal(set.sub_id.user?.iss, keycloak.issuer)

        const { items } = await admin.call<{ items: HubEvent[] }>('GET', `/v1/events?txn=${set.txn}`)
        assert.deepEqual(
          items.map(({ type }) => type),
          [SESSION_REVOKED],
        )
        const { source } = items[0] as HubEvent
        const seenAtKeycloak = await waitUntil('Keycloak knows that it was taken', async () => {
          const event = await keycloak.outgoing(source.jti)
          return event.status === 'DELIVERED' ? event : undefined
        })
        assert.equal(seenAtKeycloak.decodedSet.txn, set.txn)
      })

      it('tells of a new password without a reason; a member of its own does not go on', async () => {
        let user = ''
        const set = await afterwards(async () => {
          user = await keycloak.setPassword()
        })
        assert.deepEqual(set.sub_id, { format: 'iss_sub', iss: keycloak.issuer, sub: user })
        const { event_timestamp, ...event } = set.events[CREDENTIAL_CHANGE] ?? {}
        assert.equal(typeof event_timestamp, 'number')
        assert.deepEqual(event, {
          initiating_entity: 'admin',
          credential_type: 'password',
          change_type: 'update',
        })
      })

      it('calls all sessions of a user by the id ALL, and the gateway is told of the user', async () => {
        const set = await afterwards(() => keycloak.signInAndBeSignedOut())
        assert.ok(set.events[SESSION_REVOKED])
        assert.equal(set.sub_id.user?.iss, keycloak.issuer)
        assert.equal(set.sub_id.session, undefined)
      })

      it('loses the stream when the hub forgets the transmitter', async () => {
        await admin.call('DELETE', `/v1/transmitters/${id}`)
        await waitUntil('the stream is gone', async () => (await keycloak.streams()).length === 0)
      })
    })
  }

  describe('afterwards', () => {
    it('has told the gateway of nothing else', () => {
      const types = [SESSION_REVOKED, CREDENTIAL_CHANGE, SESSION_REVOKED]
      assert.deepEqual(
        sets.flatMap(({ events }) => Object.keys(events)),
        [...types, ...types],
      )
    })
  })
})
