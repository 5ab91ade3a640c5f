import assert from 'node:assert/strict'
import { type HubProcess, startHub } from '../support/hub-process.js'
import { createScene, readMetric, type Scene, type ScenePush } from '../support/hub-scene.js'
import { claimsOf } from '../support/ledger.js'
import { pushLoad, pushSet } from '../support/set-producer.js'
import { poll } from '../support/set-sink.js'
import { waitUntil } from '../support/wait.js'

/** A recovered endpoint gets its first event within one probe interval (4 s for urgent events); generously. */
const RECOVERY_MS = 30_000

interface ParkedItem {
  id: string
  code: string
  reason: string
  txn: string
  state: string
}

describe('fault: endpoints of one hub', function () {
  this.timeout(120_000)
  let hub: HubProcess
  let scene: Scene
  let healthy: ScenePush

  before(async () => {
    hub = await startHub({ env: { PUSH_TIMEOUT_MS: '2000' } })
    scene = await createScene([hub])
    healthy = await scene.addPush('healthy')
  })

  after(async () => {
    await scene?.close()
    await hub?.remove()
  })

  const load = (count: number) =>
    pushLoad({ upstream: scene.upstream, ledger: scene.ledger, urls: scene.ingestUrls, count })

  const got = (point: ScenePush, txn: string) =>
    scene.ledger.receipts(point.name).filter((receipt) => receipt.txn === txn).length

  const linesOf = (point: ScenePush) =>
    hub
      .output()
      .split('\n')
      .filter((line) => line.includes(point.streamId))

  /** How many attempts have failed. */
  const failing = (point: ScenePush) =>
    linesOf(point).filter(
      (line) => line.includes('delivery.attempted') && line.includes('"outcome":"failed"'),
    ).length

  const told = (point: ScenePush) => linesOf(point).filter((line) => line.includes('endpoint.failing')).length

  async function recovers(point: ScenePush, mend: () => Promise<void> | void): Promise<void> {
    const before = scene.ledger.receipts(point.name).length
    const start = performance.now()
    await mend()
    await waitUntil(
      `${point.name} gets its first SET again`,
      () => scene.ledger.receipts(point.name).length > before,
      { deadlineMs: RECOVERY_MS, detail: () => linesOf(point).slice(-10).join('\n') },
    )
    console.log(`      first SET ${((performance.now() - start) / 1000).toFixed(1)} s after the return`)
    await scene.settled(RECOVERY_MS)
  }

  it('sends everything to an endpoint that answered 500 for a while', async () => {
    const point = await scene.addPush('answers 500')
    point.sink.answerWith(() => 500)
    await load(60)
    await waitUntil('the endpoint is seen to fail', () => failing(point) >= 3)
    await waitUntil('it is told', () => told(point) > 0)
    assert.equal(told(point), 1, 'not for each failure')
    await recovers(point, () => point.sink.answerWith(() => 202))
  })

  it('sends to an endpoint that refused connections soon after it is back', async () => {
    const point = await scene.addPush('refuses connections')
    await point.sink.shut()
    await load(60)
    await waitUntil('the endpoint is seen to fail', () => failing(point) >= 5)
    await recovers(point, () => point.sink.open())
  })

  it('delays no other stream while one endpoint never answers', async () => {
    const point = await scene.addPush('never answers')
    point.sink.answerWith(() => 'never')
    await load(200)
    const healthyIsDone = () => scene.ledger.missing(healthy.name).length === 0
    await waitUntil('the healthy stream has all', healthyIsDone, { deadlineMs: RECOVERY_MS })
    assert.equal(scene.ledger.receipts(point.name).length, 0)
    await recovers(point, () => point.sink.answerWith(() => 202))
  })

  it('parks a SET that the receiver refuses, alone and with its reason, and sends it when replayed', async () => {
    const point = await scene.addPush('refuses one')
    point.sink.answerWith((set) =>
      claimsOf(set).txn === 'refused'
        ? { status: 400, body: { err: 'invalid_key', description: 'unknown kid' } }
        : 202,
    )
    await scene.push({ txn: 'refused' })
    // The same subject: its order does not wait for the refused one.
    await scene.push({ txn: 'after the refused' })
    await waitUntil('the next SET arrives', () => got(point, 'after the refused') === 1)
    const parked = await parkedOf(point)
    assert.deepEqual(
      parked.map(({ code, txn, state }) => ({ code, txn, state })),
      [{ code: 'invalid_key', txn: 'refused', state: 'open' }],
    )
    assert.match(parked[0]?.reason ?? '', /unknown kid/)
    point.sink.answerWith(() => 202)
    await scene.admin.call('POST', `/v1/parked/${parked[0]?.id}/replay`)
    await scene.settled(RECOVERY_MS)
    assert.equal(got(point, 'refused'), 1)
    assert.deepEqual(await parkedOf(point), [])
  })

  it('goes on retrying after the hub was killed and started again', async () => {
    const point = await scene.addPush('fails over a restart')
    point.sink.answerWith(() => 503)
    await load(30)
    await waitUntil('the endpoint is seen to fail', () => failing(point) >= 1)
    await restartHub()
    await recovers(point, () => point.sink.answerWith(() => 202))
  })

  it('holds SETs while paused, sends them in order when enabled, and drops them while disabled', async () => {
    const point = await scene.addPush('is paused')
    const held = Array.from({ length: 10 }, (_, number) => `held ${number}`)
    await setStatus(point, 'paused')
    for (const txn of held) await scene.push({ txn })
    await waitUntil('the healthy stream has the last', () => got(healthy, 'held 9') === 1)
    assert.deepEqual(scene.ledger.receipts(point.name), [])
    await setStatus(point, 'enabled')
    await scene.settled(RECOVERY_MS)
    const order = scene.ledger.receipts(point.name).map(({ txn }) => txn)
    assert.deepEqual(
      order.filter((txn) => txn.startsWith('held')),
      held,
    )

    scene.ledger.release(point.name)
    await setStatus(point, 'disabled')
    await scene.push({ txn: 'while disabled' })
    await waitUntil('the healthy stream has it', () => got(healthy, 'while disabled') === 1)
    await setStatus(point, 'enabled')
    await scene.push({ txn: 'enabled again' })
    await waitUntil('the stream flows again', () => got(point, 'enabled again') === 1)
    assert.equal(got(point, 'while disabled'), 0)
  })

  it('hands out again what was polled and not acknowledged when the hub was killed', async () => {
    const stream = await scene.addPoll('polled by hand', { poll: false })
    const txns = Array.from({ length: 10 }, (_, number) => `polled ${number}`)
    for (const [number, txn] of txns.entries()) await scene.push({ txn, user: `user-${number}` })
    const ask = (ack: string[], returnImmediately = false) =>
      poll(stream, { base: hub.url, ack, returnImmediately })
    let first: Record<string, string> = {}
    await waitUntil('all ten are handed out', async () => {
      first = await ask([])
      return Object.keys(first).length === txns.length
    })
    await restartHub()
    const again = await ask([])
    assert.deepEqual(Object.keys(again).sort(), Object.keys(first).sort())
    assert.deepEqual(
      Object.values(again)
        .map((set) => claimsOf(set).txn)
        .sort(),
      txns,
    )
    assert.deepEqual(await ask(Object.keys(again), true), {})
    assert.deepEqual(await ask([], true), {})
  })

  it('gives a repeated SET, and another one with its jti, no second effect', async () => {
    const jti = 'used three times'
    const set = await scene.push({ txn: 'once', jti })
    // Another subject is another slot of the log, which may be read first.
    await waitUntil('the first one has arrived', () => got(healthy, 'once') === 1)
    const url = scene.ingestUrls[0] as string
    assert.equal(await pushSet(url, set), 202)
    assert.equal(
      await pushSet(url, await scene.upstream.sign({ txn: 'other content', jti, user: 'mallory' })),
      202,
    )
    await waitUntil(
      'the conflict is counted',
      async () => (await readMetric(hub, 'firebreak_conflicting_repeats_total')) === 1,
    )
    await waitUntil('the conflict is logged', () => hub.output().includes('set.conflicting_repeat'))
    await scene.push({ txn: 'the last one' })
    await waitUntil('what came later has arrived', () => got(healthy, 'the last one') === 1)
    assert.equal(got(healthy, 'once'), 1)
    assert.equal(got(healthy, 'other content'), 0)
  })

  async function restartHub(): Promise<void> {
    hub.signal('SIGKILL')
    await hub.ended()
    hub.start()
    await hub.ready()
  }

  async function parkedOf(point: ScenePush): Promise<ParkedItem[]> {
    const path = `/v1/parked?stream_id=${point.streamId}`
    return (await scene.admin.call<{ items: ParkedItem[] }>('GET', path)).items
  }

  async function setStatus(point: ScenePush, status: string): Promise<void> {
    await point.receiver.call('POST', '/ssf/status', { stream_id: point.streamId, status })
  }
})
