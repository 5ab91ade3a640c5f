import assert from 'node:assert/strict'
import { decodeJwt, type JWTPayload } from 'jose'
import { addPushStream, addReceiver, type HubApi, hubApi } from '../support/hub-api.js'
import { createHubProcess, type HubProcess } from '../support/hub-process.js'
import { type SetSink, startSink } from '../support/set-sink.js'
import { HUB_AUDIENCE, SESSION_REVOKED } from '../support/upstream.js'
import { waitUntil } from '../support/wait.js'
import { type KeycloakServer, startKeycloak } from './keycloak-server.js'

const AUTHORIZATION = 'Bearer what Keycloak sends the hub'

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
  const sets: JWTPayload[] = []

  before(async () => {
    hub = await createHubProcess()
    hub.start()
    ;[keycloak] = await Promise.all([startKeycloak(HUB_AUDIENCE, hub.url), hub.ready()])
    admin = hubApi(() => hub.url, hub.adminToken)
    sink = await startSink((set) => void sets.push(decodeJwt(set)))
    const { token } = await addReceiver(admin, 'gateway')
    await addPushStream(
      hubApi(() => hub.url, token),
      sink.url,
    )
  })
  after(async () => {
    await sink?.close()
    await Promise.all([hub?.remove(), keycloak?.stop()])
  })

  /** Waits for the event at the hub. */
  async function eventAtHub(what: string, isIt: (event: HubEvent) => boolean): Promise<HubEvent> {
    return await waitUntil(what, async () => {
      const { items } = await admin.call<{ items: HubEvent[] }>('GET', '/v1/events')
      return items.find(isIt)
    })
  }

  it('is registered by its metadata and makes a stream for the hub', async () => {
    const { ingest_url } = await admin.call<{ ingest_url: string }>('POST', '/v1/transmitters', {
      name: 'keycloak',
      issuer: keycloak.issuer,
      discover: true,
      audience: HUB_AUDIENCE,
      authorization_header: AUTHORIZATION,
    })
    const stream = await keycloak.createStream({
      events_requested: [SESSION_REVOKED],
      delivery: {
        method: 'urn:ietf:rfc:8935',
        endpoint_url: ingest_url,
        authorization_header: AUTHORIZATION,
      },
    })
    assert.equal(stream.iss, keycloak.issuer)
    assert.deepEqual([stream.aud].flat(), [HUB_AUDIENCE])
    streamId = stream.stream_id
  })

  it('pushes a sign-out, and the gateway gets it with the same txn', async () => {
    const session = await keycloak.signInAndOut()
    const set = await waitUntil('the gateway has the event', () => sets[0])
    const subject = set.sub_id as { user: { iss: string }; session: object }
    assert.deepEqual(subject.session, { format: 'opaque', id: session })
    assert.equal(subject.user.iss, keycloak.issuer)

    const { source } = await eventAtHub('the hub shows the event', ({ type }) => type === SESSION_REVOKED)
    const { status, decodedSet } = await keycloak.outgoing(source.jti)
    assert.equal(status, 'DELIVERED')
    assert.equal(typeof decodedSet.txn, 'string')
    assert.equal(set.txn, decodedSet.txn)
  })

  it('gets its verification taken, which no receiver of the hub is told of', async () => {
    const seen = sets.length
    await keycloak.verify(streamId, 'the state')
    await eventAtHub('the hub has it', ({ claims }) => claims.state === 'the state')

    await keycloak.signInAndOut()
    await waitUntil('the gateway has the event after it', () => sets.length > seen)
    assert.deepEqual(
      sets.flatMap(({ events }) => Object.keys(events as object)),
      sets.map(() => SESSION_REVOKED),
    )
  })
})
