import assert from 'node:assert/strict'
import { decodeJwt, type JWTPayload } from 'jose'
import { addPushStream, addReceiver, type HubApi, hubApi } from '../support/hub-api.js'
import { type HubProcess, startHub } from '../support/hub-process.js'
import { type SetSink, startSink } from '../support/set-sink.js'
import { SESSION_REVOKED } from '../support/upstream.js'
import { waitUntil } from '../support/wait.js'
import { type EasyssfSigner, startEasyssfSigner } from './easyssf-signer.js'

interface TransmitterBody {
  readonly id: string
  readonly audience: readonly string[]
  readonly stream: {
    readonly state: string
    readonly stream_id: string | null
    readonly last_poll_at: string | null
  }
}

describe('easyssf-test as a transmitter', function () {
  this.timeout(120_000)
  let hub: HubProcess
  let admin: HubApi
  let sink: SetSink
  let signer: EasyssfSigner
  let transmitter: TransmitterBody
  const sets: JWTPayload[] = []

  before(async () => {
    signer = await startEasyssfSigner()
    hub = await startHub({ env: { NODE_EXTRA_CA_CERTS: signer.caFile } })
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
    await hub?.remove()
    await signer?.stop()
  })

  it('is found by its metadata, and gives a token and a stream that the hub polls', async () => {
    const { id } = await admin.call<TransmitterBody>('POST', '/v1/transmitters', {
      name: 'easyssf',
      issuer: signer.issuer,
      discover: true,
      delivery: { method: 'poll', events_requested: [SESSION_REVOKED], credentials: signer.credentials },
    })
    transmitter = await waitUntil('the hub polls', async () => {
      const body = await admin.call<TransmitterBody>('GET', `/v1/transmitters/${id}`)
      return body.stream.last_poll_at === null ? undefined : body
    })
    assert.equal(transmitter.stream.state, 'active')
    const { streams } = await signer.state()
    assert.deepEqual(
      streams.map(({ stream_id }) => stream_id),
      [transmitter.stream.stream_id],
    )
  })

  it('is polled and gets its SET acknowledged, and the gateway gets the event with the same txn', async () => {
    const set = await signer.sign({ aud: transmitter.audience, txn: 'polled' })
    const got = await waitUntil('the gateway has the event', () => sets.find(({ txn }) => txn === 'polled'))
    assert.deepEqual((got.sub_id as { session: object }).session, { format: 'opaque', id: 'session of bob' })
    const { jti } = decodeJwt(set)
    await waitUntil('it is acknowledged', async () =>
      (await signer.state()).acknowledged.includes(jti as string),
    )
  })

  it('gets a SET for another audience reported, and nothing stays in its queue', async () => {
    const { jti } = decodeJwt(await signer.sign({ aud: 'https://other.example', txn: 'not for the hub' }))
    const { errors } = await waitUntil('it is reported', async () => {
      const state = await signer.state()
      return state.queued === 0 ? state : undefined
    })
    assert.deepEqual(
      errors.map(([reported, { err }]) => [reported, err]),
      [[jti, 'invalid_audience']],
    )
    assert.equal(sets.length, 1)
  })

  it('loses the stream when the hub forgets the transmitter', async () => {
    await admin.call('DELETE', `/v1/transmitters/${transmitter.id}`)
    await waitUntil('the stream is gone', async () => (await signer.state()).streams.length === 0)
  })
})
