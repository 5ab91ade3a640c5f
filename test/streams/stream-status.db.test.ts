import assert from 'node:assert/strict'
import { SSF } from '../../src/secevent/event-types.js'
import type { StatusSetter, StreamStatus } from '../../src/streams/stream.js'
import { StreamNotFound } from '../../src/streams/stream-errors.js'
import { createSsfHarness, type SsfHarness, type TestReceiver, UNKNOWN_ID } from './ssf-harness.js'

describe('streams: who sets a status, and what follows', () => {
  let ssf: SsfHarness
  let a: TestReceiver
  let id: string
  before(async () => {
    ssf = await createSsfHarness()
    a = await ssf.addReceiver('gateway-a')
  })
  after(() => ssf.close())
  beforeEach(async () => {
    id = await ssf.createStream(a)
    ssf.observer.changed.length = 0
    ssf.wakes.length = 0
  })

  const auditRows = () =>
    ssf
      .db('audit_log')
      .where({ target: `stream:${id}` })
      .whereNot({ action: 'stream.created' })
      .orderBy('at')
      .select('actor', 'action', 'detail')
  const notices = async () =>
    (await ssf.logged()).filter((event) => event.targetStreamId === id).map((event) => event.claims)
  const set = (status: StreamStatus, reason?: string) => ssf.statuses.setStatus(a.id, id, { status, reason })
  const setByHub = (status: StreamStatus, by: Exclude<StatusSetter, 'receiver'> = 'hub', reason?: string) =>
    ssf.statuses.setStatusByHub(id, status, reason, { by, actor: `the ${by}` })

  it('writes an audit row for each change of the receiver’s own, and none for what is so already', async () => {
    await set('paused', 'upgrade')
    await set('paused', 'still upgrading')
    await set('enabled')
    assert.deepEqual(await auditRows(), [
      { actor: `receiver:${a.id}`, action: 'stream.paused', detail: { reason: 'upgrade' } },
      { actor: `receiver:${a.id}`, action: 'stream.enabled', detail: {} },
    ])
    assert.deepEqual(await notices(), [], 'who asked needs no notice')
    assert.deepEqual(ssf.wakes, [])
  })

  it('keeps the newest reason, also where the status stays', async () => {
    await set('paused', 'one')
    assert.deepEqual(await set('paused', 'two'), {
      streamId: id,
      status: 'paused',
      reason: 'two',
      confirmed: true,
    })
    assert.equal((await ssf.statuses.read(a.id, id)).reason, 'two')
  })

  it('tells whoever sends each time, and waits for its word only to stop', async () => {
    ssf.observer.confirms = false
    try {
      assert.equal((await set('paused')).confirmed, false)
      assert.equal((await set('enabled')).confirmed, true)
      assert.equal((await setByHub('disabled')).confirmed, false)
    } finally {
      ssf.observer.confirms = true
    }
    assert.deepEqual(ssf.observer.changed, [id, id, id])
  })

  it('drops open work with each change into or out of disabled, and with no other', async () => {
    const left = async (from: StreamStatus, to: StreamStatus, change: typeof set) => {
      await set(from)
      await ssf.queueDelivery(a, id)
      await change(to)
      return ssf.count('delivery_queue', id)
    }
    for (const change of [set, (status: StreamStatus) => setByHub(status, 'operator')]) {
      assert.equal(await left('enabled', 'paused', change as typeof set), 1)
      await ssf.db('delivery_queue').delete()
      await setByHub('enabled', 'operator')
      assert.equal(await left('enabled', 'disabled', change as typeof set), 0)
      await setByHub('enabled', 'operator')
      assert.equal(await left('disabled', 'enabled', change as typeof set), 0)
      assert.equal(await left('disabled', 'paused', change as typeof set), 0)
      await setByHub('enabled', 'operator')
      assert.equal(await left('paused', 'disabled', change as typeof set), 0)
      await setByHub('enabled', 'operator')
      assert.equal(await left('paused', 'enabled', change as typeof set), 1)
      await ssf.db('delivery_queue').delete()
    }
  })

  it('says by stream-updated what the hub did, wakes fan-out and writes who it was', async () => {
    const result = await setByHub('paused', 'hub', 'no word for a day')
    assert.deepEqual(result, {
      streamId: id,
      status: 'paused',
      reason: 'no word for a day',
      confirmed: true,
      changed: true,
    })
    assert.deepEqual(await notices(), [{ status: 'paused', reason: 'no word for a day' }])
    assert.deepEqual(ssf.wakes, [['urgent']])
    assert.deepEqual(await auditRows(), [
      { actor: 'the hub', action: 'stream.paused', detail: { reason: 'no word for a day' } },
    ])
    const [event] = (await ssf.logged()).filter(({ targetStreamId }) => targetStreamId === id)
    assert.deepEqual(
      [event?.type, event?.subject, event?.lane],
      [SSF.streamUpdated, { format: 'opaque', id }, 'urgent'],
    )
  })

  it('is the hub’s own without saying so', async () => {
    await ssf.statuses.setStatusByHub(id, 'paused', undefined)
    assert.deepEqual(await auditRows(), [{ actor: 'hub', action: 'stream.paused', detail: {} }])
    assert.equal((await ssf.statuses.setStatusByHub(id, 'enabled', undefined)).changed, true)
  })

  it('does nothing where the hub finds it done already', async () => {
    await setByHub('paused')
    const result = await setByHub('paused', 'hub', 'other words')
    assert.deepEqual([result.changed, result.reason], [false, undefined])
    assert.equal((await auditRows()).length, 1)
    assert.equal((await notices()).length, 1)
    assert.equal(ssf.wakes.length, 1)
  })

  it('becomes the operator’s when the operator says the same, without another notice', async () => {
    await setByHub('paused')
    assert.equal((await setByHub('paused', 'operator')).changed, true)
    assert.equal((await notices()).length, 1)
    assert.equal((await auditRows()).length, 2)
    assert.equal((await setByHub('paused', 'operator', 'again')).changed, false)
    assert.equal((await auditRows()).length, 2)
    await assert.rejects(set('enabled'), { name: 'StatusHeld' })
  })

  it('is never enabled by the hub where a person stopped it, which an operator may', async () => {
    await set('paused')
    assert.deepEqual(
      [(await setByHub('enabled')).changed, (await setByHub('disabled')).changed],
      [false, true],
    )
    assert.equal((await setByHub('enabled')).changed, true)
    await setByHub('paused', 'operator')
    assert.equal((await setByHub('enabled')).changed, false)
    assert.equal((await setByHub('enabled', 'operator')).changed, true)
  })

  it('is held against the receiver only while an operator has it stopped', async () => {
    await setByHub('paused', 'operator')
    await assert.rejects(set('disabled'), { name: 'StatusHeld' })
    assert.equal((await set('paused', 'mine')).reason, undefined, 'the operator’s words stay')
    await setByHub('enabled', 'operator')
    assert.equal((await set('disabled')).status, 'disabled')
    assert.equal((await set('enabled')).status, 'enabled')
  })

  it('is unknown of a stream that is not there, and of another’s', async () => {
    const b = await ssf.addReceiver(`gateway-${id}`)
    await assert.rejects(ssf.statuses.setStatusByHub(UNKNOWN_ID, 'paused', undefined), StreamNotFound)
    await assert.rejects(ssf.statuses.setStatus(b.id, id, { status: 'paused' }), StreamNotFound)
    await assert.rejects(ssf.statuses.read(b.id, id), StreamNotFound)
    assert.deepEqual([ssf.observer.changed, ssf.wakes], [[], []])
  })

  it('takes an operator’s reason of 1,000 characters, and of no more', async () => {
    const pause = (length: number) =>
      ssf.call('post', `/v1/streams/${id}/pause`, 'operator', { reason: 'x'.repeat(length) })
    assert.equal((await pause(1_001)).status, 400)
    const paused = await pause(1_000)
    assert.equal(paused.status, 200)
    assert.equal(paused.body.status_reason, 'x'.repeat(1_000))
  })

  it('ends with the endpoint that failed: the hub enables what it paused for that when the receiver names another', async () => {
    const delivery = (path: string) => ({
      delivery: {
        method: 'push' as const,
        endpointUrl: `https://127.0.0.1/${path}`,
        authorizationHeader: undefined,
      },
    })
    const patch = (choice: object) => ssf.streams.update(a.id, id, { choice, claimed: {} })
    const status = async () => (await ssf.statuses.read(a.id, id)).status
    for (const elsewhere of [delivery('two'), { delivery: { method: 'poll' as const } }]) {
      await patch(delivery('one'))
      await ssf.statuses.setStatusByHub(id, 'paused', 'gone', { cause: 'failing' })
      await patch({ ...delivery('one'), description: 'the same endpoint' })
      assert.equal(await status(), 'paused')
      ssf.wakes.length = 0
      await patch(elsewhere)
      assert.equal(await status(), 'enabled')
      assert.deepEqual(ssf.wakes, [['urgent']])
      assert.equal((await notices()).at(-1)?.status, 'enabled')
      assert.deepEqual((await auditRows()).at(-1)?.action, 'stream.enabled')
    }
    for (const cause of ['inactive', undefined] as const) {
      await patch(delivery('one'))
      await ssf.statuses.setStatusByHub(id, 'paused', 'other', cause ? { cause } : { by: 'operator' })
      await patch({ delivery: { method: 'poll' as const } })
      assert.equal(await status(), 'paused', cause ?? 'operator')
      await ssf.statuses.setStatusByHub(id, 'enabled', undefined, { by: 'operator' })
    }
  })
})
