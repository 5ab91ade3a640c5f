import assert from 'node:assert/strict'
import { pickFreePort } from '../../src/storage/postgres-server.js'
import { addReceiver } from '../support/hub-api.js'
import { SESSION_REVOKED } from '../support/upstream.js'
import type { PackageProcess } from './package-process.js'
import {
  type Claims,
  createReceiverScene,
  PUSH,
  type ReceiverScene,
  type StreamBody,
} from './receiver-scene.js'

/** What the program prints of an event that the package handed over. */
interface Taken {
  readonly event_type: string
  /** Whether the package decoded it as one of its own types. */
  readonly known: boolean
  readonly claims: Claims
}

describe('authkestra-ssf', function () {
  this.timeout(120_000)
  let scene: ReceiverScene

  before(async () => {
    scene = await createReceiverScene()
  })
  afterEach(async () => await scene.endReceivers())
  after(async () => await scene?.close())

  /** The package takes SETs and leaves subscribing to its user. */
  async function subscribe(name: string, audienceOf: (own: string) => string) {
    const { token, audience } = await addReceiver(scene.admin, name)
    const receiver = scene.as(token)
    const metadata = await receiver.call<{ jwks_uri: string }>('GET', '/.well-known/ssf-configuration')
    const jwks = await receiver.call<object>('GET', new URL(metadata.jwks_uri).pathname)
    const port = await pickFreePort()
    const config = { issuer: scene.url, audience: audienceOf(audience), port, jwks }
    const process: PackageProcess<Taken> = scene.startReceiver('authkestra-receiver-process', config)
    const { stream_id } = await receiver.call<StreamBody>('POST', '/ssf/streams', {
      events_requested: [SESSION_REVOKED],
      delivery: { method: PUSH, endpoint_url: `http://127.0.0.1:${port}/events` },
    })
    return { process, streamId: stream_id }
  }

  it('verifies what is pushed, decodes the event, and its answer counts as received', async () => {
    const { process, streamId } = await subscribe('authkestra', (own) => own)
    await scene.revoke('pushed')
    const taken = await process.line('the event', ({ claims }) => claims.txn === 'pushed')
    assert.equal(taken.event_type, SESSION_REVOKED)
    assert.equal(taken.known, true)
    const { jti } = await scene.deliveryIn('received', 'pushed', streamId)
    assert.equal(jti, taken.claims.jti)
    assert.equal(process.lines.length, 1)
  })

  it('refuses a SET for another audience, and the hub parks it with the error that it gave', async () => {
    const { process, streamId } = await subscribe('of another name', () => 'https://other.example')
    await scene.revoke('refused')
    const { failure } = await scene.deliveryIn('parked', 'refused', streamId)
    assert.match(failure ?? '', /invalid_audience/)
    assert.deepEqual(process.lines, [])
  })
})
