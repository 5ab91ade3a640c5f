import assert from 'node:assert/strict'
import { decodeJwt } from 'jose'
import { addReceiver, type HubApi, hubApi } from '../support/hub-api.js'
import { createHubProcess, type HubProcess } from '../support/hub-process.js'
import { type SetSink, startSink } from '../support/set-sink.js'
import { HUB_AUDIENCE, SESSION_REVOKED } from '../support/upstream.js'
import { waitUntil } from '../support/wait.js'
import { type KeycloakServer, startKeycloak } from './keycloak-server.js'

const AUTHORIZATION = 'Bearer what Keycloak sends the hub'
const CREDENTIAL_CHANGE = 'https://schemas.openid.net/secevent/caep/event-type/credential-change'
const PUSH = 'urn:ietf:rfc:8935'

interface SetClaims {
  readonly txn: string
  readonly sub_id: Record<string, Record<string, string>> & { readonly format: string }
  readonly events: Record<string, Record<string, unknown>>
}
interface HubEvent {
  readonly txn: string
  readonly type: string
  readonly claims: { readonly state?: string }
  readonly source: { readonly jti: string }
}

describe('Keycloak as a transmitter', function () {
  this.timeout(240_000)
  let hub: HubProcess
  let admin: HubApi
  let keycloak: KeycloakServer
  let sink: SetSink
  let streamId: string
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
      delivery: { method: PUSH, endpoint_url: sink.url },
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
    const detail = () => hub.output().slice(-2_000)
    return await waitUntil('the gateway has the event', () => sets[seen], { detail })
  }

  /** Waits for the event at the hub. */
  async function eventAtHub(what: string, isIt: (event: HubEvent) => boolean): Promise<HubEvent> {
    return await waitUntil(what, async () => {
      const { items } = await admin.call<{ items: HubEvent[] }>('GET', '/v1/events')
      return items.find(isIt)
    })
  }

  it('is found by its metadata and makes a stream for the hub', async () => {
    const { ingest_url } = await admin.call<{ ingest_url: string }>('POST', '/v1/transmitters', {
      name: 'keycloak',
      issuer: keycloak.issuer,
      discover: true,
      audience: HUB_AUDIENCE,
      authorization_header: AUTHORIZATION,
      tolerances: { session_id_all: true },
    })
    const stream = await keycloak.createStream({
      events_requested: [SESSION_REVOKED, CREDENTIAL_CHANGE],
      delivery: { method: PUSH, endpoint_url: ingest_url, authorization_header: AUTHORIZATION },
    })
    assert.equal(stream.iss, keycloak.issuer)
    assert.deepEqual([stream.aud].flat(), [HUB_AUDIENCE])
    streamId = stream.stream_id
  })

  it('pushes a sign-out, which the gateway gets with the same txn', async () => {
    let session = ''
    const set = await afterwards(async () => {
      session = await keycloak.signInAndOut()
    })
    assert.deepEqual(set.sub_id.session, { format: 'opaque', id: session })
    assert.equal(set.sub_id.user?.iss, keycloak.issuer)

    const { source } = await eventAtHub('the hub shows it', ({ txn }) => txn === set.txn)
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

  it('gets its verification taken, of which the gateway hears nothing', async () => {
    await keycloak.verify(streamId, 'the state')
    await eventAtHub('the hub has it', ({ claims }) => claims.state === 'the state')
    await afterwards(() => keycloak.signInAndOut())
    assert.deepEqual(
      sets.flatMap(({ events }) => Object.keys(events)),
      [SESSION_REVOKED, CREDENTIAL_CHANGE, SESSION_REVOKED, SESSION_REVOKED],
    )
  })
})
