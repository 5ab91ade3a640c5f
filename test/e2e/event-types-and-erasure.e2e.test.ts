import assert from 'node:assert/strict'
import { addReceiver, type HubApi, hubApi } from '../support/hub-api.js'
import { type HubProcess, startHub } from '../support/hub-process.js'
import { waitUntil } from '../support/wait.js'

const TYPE = 'https://example.com/events/badge-lost'
const DEACTIVATE = 'urn:ietf:params:scim:event:prov:deactivate'
const PERSON = { format: 'email', email: 'canary.person@example.com' }

interface Erasure {
  id: string
  state: string
  events_owed: number
  events_erased: number
}

describe('a running hub, with event types of its own and a person to forget', function () {
  this.timeout(120_000)
  let hub: HubProcess
  let admin: HubApi
  let receiver: HubApi
  let pollPath: string

  before(async () => {
    hub = await startHub()
    admin = hubApi(() => hub.url, hub.adminToken)
    const { token } = await addReceiver(admin, 'gateway', { signing_alg: 'ES256' })
    receiver = hubApi(() => hub.url, token)
    const stream = await receiver.call<{ delivery: { endpoint_url: string } }>('POST', '/ssf/streams', {
      events_requested: [TYPE, DEACTIVATE],
      delivery: { method: 'urn:ietf:rfc:8936' },
    })
    pollPath = new URL(stream.delivery.endpoint_url).pathname
  })
  after(() => hub?.remove())

  const emit = (body: object) => admin.ask<{ txn: string; message: string }>('POST', '/v1/events', body)
  async function poll(body: object = {}): Promise<[jti: string, claims: Record<string, unknown>][]> {
    const { sets } = await receiver.call<{ sets: Record<string, string> }>('POST', pollPath, {
      returnImmediately: true,
      ...body,
    })
    return Object.entries(sets).map(([jti, set]) => [
      jti,
      JSON.parse(Buffer.from(set.split('.')[1] ?? '', 'base64url').toString()) as Record<string, unknown>,
    ])
  }

  it('delivers a registered type and a SCIM event, and erases the person once both are received', async () => {
    const lost = { type: TYPE, sub_id: PERSON, event: { door: 'A1', note: 'as it came' } }
    assert.equal((await emit(lost)).status, 400, 'nobody knows the type yet')
    const schema = { type: 'object', properties: { door: { type: 'string' }, note: {} }, required: ['door'] }
    const { id } = await admin.call<{ id: string }>('POST', '/v1/event-types', {
      type: TYPE,
      effect: 'tightens',
      schema,
    })
    const refused = await emit({ ...lost, event: { note: 1 } })
    assert.equal(refused.status, 400)
    assert.match(refused.body.message, /door/)
    const { txn } = (await emit(lost)).body
    const scim = {
      type: DEACTIVATE,
      sub_id: { format: 'scim', uri: 'Agents/7', externalId: PERSON.email },
      event: {},
    }
    assert.equal((await emit(scim)).status, 202)
    const sets = await waitUntil('both SETs', async () => {
      const found = await poll()
      return found.length === 2 ? found : undefined
    })
    const payloads = Object.assign({}, ...sets.map(([, claims]) => claims.events)) as Record<string, unknown>
    assert.deepEqual(payloads, { [TYPE]: lost.event, [DEACTIVATE]: {} })

    const begun = await admin.call<Erasure>('POST', '/v1/subjects/erase', {
      subject: PERSON,
      reason: 'request 7',
    })
    const state = () => admin.call<Erasure>('GET', `/v1/subjects/erasures/${begun.id}`)
    await waitUntil('the erasure to wait', async () => (await state()).state === 'waiting')
    assert.equal((await state()).events_owed, 2)
    await poll({ ack: sets.map(([jti]) => jti), maxEvents: 0 })
    await waitUntil('the erasure', async () => (await state()).state === 'done')
    assert.equal((await state()).events_erased, 2)
    const events = await admin.call<{ items: object[] }>('GET', '/v1/events')
    assert.doesNotMatch(JSON.stringify(events), /canary/)
    assert.match(JSON.stringify(events), new RegExp(txn))
    assert.equal((await admin.call<{ ok: boolean }>('GET', '/v1/audit/verification')).ok, true)

    await admin.call('DELETE', `/v1/event-types/${id}`)
    assert.equal((await emit(lost)).status, 400)
  })
})
