import assert from 'node:assert/strict'
import { decodeJwt, decodeProtectedHeader, type JWTPayload } from 'jose'
import { addPushStream, addReceiver, hubApi } from '../support/hub-api.js'
import { type HubProcess, startHub } from '../support/hub-process.js'
import { type SetSink, startSink } from '../support/set-sink.js'
import { HUB_AUDIENCE } from '../support/upstream.js'
import { waitUntil } from '../support/wait.js'
import { type EasyssfSigner, startEasyssfSigner } from './easyssf-signer.js'
import { type PackageProcess, startProgram } from './package-process.js'

const TOKEN = 'what the provider pushes with'

/** What the Okta SDK understood of the hub's answer. */
interface Pushed {
  readonly status: number
  readonly err?: string
}

describe('SETs signed by easyssf-test and pushed by the Okta SDK', function () {
  this.timeout(120_000)
  let hub: HubProcess
  let sink: SetSink
  let signer: EasyssfSigner
  let provider: PackageProcess<Pushed>
  const sets: JWTPayload[] = []

  before(async () => {
    signer = await startEasyssfSigner()
    hub = await startHub({ env: { NODE_EXTRA_CA_CERTS: signer.caFile } })
    const admin = hubApi(() => hub.url, hub.adminToken)
    const { ingest_url } = await admin.call<{ ingest_url: string }>('POST', '/v1/transmitters', {
      name: 'provider',
      issuer: signer.issuer,
      discover: true,
      audience: HUB_AUDIENCE,
      authorization_header: `SSWS ${TOKEN}`,
    })
    provider = startProgram<Pushed>('okta-transmitter', [ingest_url, TOKEN])
    sink = await startSink((set) => void sets.push(decodeJwt(set)))
    const { token } = await addReceiver(admin, 'gateway')
    await addPushStream(
      hubApi(() => hub.url, token),
      sink.url,
    )
  })
  after(async () => {
    await sink?.close()
    await Promise.all([hub?.remove(), provider?.stop()])
    await signer?.stop()
  })

  it('are taken, and the gateway gets the event with the same txn', async () => {
    const set = await signer.sign({ aud: HUB_AUDIENCE, txn: 'by-okta' })
    assert.equal(decodeProtectedHeader(set).typ, 'secevent+jwt')
    assert.equal((await provider.ask(set)).status, 202)
    const got = await waitUntil('the gateway has the event', () => sets.find(({ txn }) => txn === 'by-okta'))
    assert.deepEqual((got.sub_id as { session: object }).session, { format: 'opaque', id: 'session of bob' })
  })

  it('are answered 202 a second time, without a second event', async () => {
    const set = await signer.sign({ aud: HUB_AUDIENCE, txn: 'twice' })
    assert.equal((await provider.ask(set)).status, 202)
    assert.equal((await provider.ask(set)).status, 202)
    const last = await signer.sign({ aud: HUB_AUDIENCE, txn: 'after twice' })
    assert.equal((await provider.ask(last)).status, 202)
    await waitUntil('the gateway has what came later', () => sets.some(({ txn }) => txn === 'after twice'))
    assert.equal(sets.filter(({ txn }) => txn === 'twice').length, 1)
  })

  it('are refused when meant for another, in words that the SDK reads', async () => {
    const { status, err } = await provider.ask(await signer.sign({ aud: 'https://other.example' }))
    assert.deepEqual({ status, err }, { status: 400, err: 'invalid_audience' })
  })
})
