import assert from 'node:assert/strict'
import { createPublicKey, verify } from 'node:crypto'
import { CAEP, SSF } from '../../src/secevent/event-types.js'
import { type DeliveryHarness, type Sink, startDelivery, startSink } from '../delivery/delivery-harness.js'
import { waitUntil } from '../support/wait.js'

interface Claims {
  txn: string
  sub_id: { format: string }
  events: Record<string, { reason_admin?: object }>
}

const EMAIL = { format: 'email', email: 'ann@example.com' }
const OPAQUE = { format: 'opaque', id: 'x' }
const USE_CASES = [
  CAEP.sessionRevoked,
  CAEP.credentialChange,
  CAEP.deviceComplianceChange,
  CAEP.riskLevelChange,
]

function partsOf(set: string) {
  const [header = '', payload = '', signature = ''] = set.split('.')
  const read = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString('utf8'))
  return {
    header: read(header) as { alg: string; kid: string },
    claims: read(payload) as Claims,
    signed: Buffer.from(`${header}.${payload}`),
    signature: Buffer.from(signature, 'base64url'),
  }
}

describe('CAEP interoperability profile: what a receiver of profile caep-interop gets', () => {
  let hub: DeliveryHarness
  let sink: Sink

  let polled: string
  let plain: string
  before(async () => {
    hub = await startDelivery()
    sink = await startSink()
    const receiverId = await hub.addReceiver({ profile: 'caep-interop' })
    const types = [...USE_CASES, CAEP.sessionEstablished]
    await hub.addStream({ receiverId, endpointUrl: sink.url, types })
    polled = await hub.addStream({ receiverId, types })
    plain = await hub.addStream({ receiverId: await hub.addReceiver(), types })
  })
  after(async () => {
    await hub.close()
    await sink.close()
  })

  /** The SETs that the poll stream holds, acknowledged. */
  async function poll(streamId: string): Promise<string[]> {
    const [row] = await hub.rows<{ receiver_id: string }>(
      'select receiver_id from streams where stream_id = ?',
      [streamId],
    )
    const call = { aborted: new AbortController().signal, checkAccess: async () => {} }
    const ask = (body: object) =>
      hub.delivery.polls.poll(row?.receiver_id ?? '', streamId, { returnImmediately: true, ...body }, call)
    const { sets } = await ask({})
    await ask({ ack: Object.keys(sets), maxEvents: 0 })
    return Object.values(sets)
  }
  const pushes = (txn: string) => sink.received.filter(({ claims }) => claims.txn === txn)
  const resultsOf = (eventId: string) =>
    hub.rows<{ stream_id: string; outcome: string; failure: string | null }>(
      'select stream_id, outcome, failure from deliveries where event_id = ?',
      [eventId],
    )

  it('is signed with RS256 by a published key, framework events too (T-9)', async () => {
    const receiverStream = hub.event({
      type: SSF.verification,
      subject: { format: 'opaque', id: polled },
      claims: { state: 's' },
      targetStreamId: polled,
    })
    await hub.fanOut([hub.event(), receiverStream])
    const sets = await poll(polled)
    assert.equal(sets.length, 2)
    for (const set of sets) {
      const { header, signed, signature } = partsOf(set)
      assert.equal(header.alg, 'RS256')
      const jwk = hub.keys.setJwks().keys.find((key) => (key as { kid: string }).kid === header.kid)
      const key = createPublicKey({ key: jwk as never, format: 'jwk' })
      assert.equal(key.asymmetricKeyType, 'rsa')
      assert.ok((key.asymmetricKeyDetails?.modulusLength ?? 0) >= 2048)
      assert.ok(verify('sha256', signed, key, signature))
    }
  })

  it('has one event in each SET, with a reason_admin that is not empty, in every use case (T-24)', async () => {
    const events = USE_CASES.map((type) => hub.event({ type, subject: EMAIL, txn: `case ${type}` }))
    await hub.fanOut(events)
    const sets = await poll(polled)
    const all = sets.map((set) => partsOf(set).claims).filter(({ txn }) => txn.startsWith('case '))
    assert.equal(all.length, USE_CASES.length)
    for (const { events: inSet } of all) {
      const [[type, claims] = [], ...more] = Object.entries(inSet)
      assert.deepEqual(more, [])
      assert.ok(USE_CASES.includes(type as never))
      assert.match(JSON.stringify(claims?.reason_admin), /^\{"en":"[a-z-]+; its source gave no reason"\}$/)
    }
  })

  it('names the user of a complex subject, while other receivers get the subject whole (T-32)', async () => {
    const subject = { format: 'complex', user: EMAIL, device: OPAQUE }
    const event = hub.event({ subject, txn: 'complex' })
    await hub.fanOut([event])
    await waitUntil('the push', () => pushes('complex').length > 0)
    const subjectIn = (sets: string[]) =>
      sets.map((set) => partsOf(set).claims).find(({ txn }) => txn === 'complex')?.sub_id
    assert.deepEqual(pushes('complex')[0]?.claims.sub_id, EMAIL)
    assert.deepEqual(subjectIn(await poll(polled)), EMAIL)
    assert.deepEqual(subjectIn(await poll(plain)), subject)
  })

  it('is not what has no such subject: that is recorded with its reason, on push and on poll', async () => {
    await poll(polled)
    const event = hub.event({ subject: OPAQUE, txn: 'opaque' })
    await hub.fanOut([event])
    assert.deepEqual(await poll(polled), [])
    await waitUntil('both results', async () => (await resultsOf(event.eventId)).length === 2)
    for (const { outcome, failure } of await resultsOf(event.eventId)) {
      assert.equal(outcome, 'discarded')
      assert.match(failure ?? '', /caep-interop has no form for a subject of format opaque/)
    }
    assert.deepEqual(pushes('opaque'), [])
    const others = (await poll(plain)).map((set) => partsOf(set).claims.txn)
    assert.ok(others.includes('opaque'))
  })

  it('says the same at every attempt, though the profile was taken off meanwhile (docs/adr/0018)', async () => {
    await hub.fanOut([
      hub.event({ txn: 'kept', subject: { format: 'complex', user: EMAIL, device: OPAQUE } }),
    ])
    const call = { aborted: new AbortController().signal, checkAccess: async () => {} }
    const [row] = await hub.rows<{ receiver_id: string }>(
      'select receiver_id from streams where stream_id = ?',
      [polled],
    )
    const peek = async () => {
      const answer = await hub.delivery.polls.poll(
        row?.receiver_id ?? '',
        polled,
        { returnImmediately: true },
        call,
      )
      return Object.values(answer.sets).find((set) => partsOf(set).claims.txn === 'kept')
    }
    const before = partsOf((await peek()) ?? '').claims
    await hub.rows('update receivers set profile = null where id = ?', [row?.receiver_id])
    try {
      assert.deepEqual(partsOf((await peek()) ?? '').claims, before)
      await hub.restart()
      assert.deepEqual(partsOf((await peek()) ?? '').claims, before)
    } finally {
      await hub.rows(`update receivers set profile = 'caep-interop' where id = ?`, [row?.receiver_id])
    }
  })
})
