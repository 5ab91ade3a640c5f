import assert from 'node:assert/strict'
import { readMetric } from '../../support/hub-scene.js'
import { waitUntil } from '../../support/wait.js'
import { rewindGroups } from '../kafka-admin.js'
import type { FaultHub, FaultRig, FaultScene } from '../rig.js'
import type { Row } from '../row.js'
import { ask } from '../sql.js'

/** Settings that end a hub at the n-th pass of a point. */
export const crashAt = (point: string, pass: number) => ({
  FIREBREAK_TEST_FAULTS: 'crashpoint',
  FIREBREAK_CRASHPOINT: `${point}:${pass}`,
})

/** Load, until the hub has ended itself; it is started again and the load goes on for a while. */
export async function crashUnderLoad(rig: FaultRig, hub: FaultHub, scene: FaultScene): Promise<number> {
  const load = rig.load(scene)
  const downMs = await rig.during(async () => {
    assert.equal((await hub.ended(60_000)).signal, 'SIGKILL')
    const died = performance.now()
    await hub.revive()
    return performance.now() - died
  })
  await load.goesOn(24, 'again')
  await load.stop()
  return Math.round(downMs)
}

/** One hub that ends itself at a point. */
function crashRow(row: Pick<Row, 'id' | 'title' | 'expected' | 'quick'>, point: string, least: number): Row {
  return {
    ...row,
    async run(rig) {
      const pass = least + Math.floor(rig.random() * least)
      const hub = await rig.hub({ env: crashAt(point, pass) })
      const scene = await rig.scene([hub])
      const downMs = await crashUnderLoad(rig, hub, scene)
      return `ended at pass ${pass} of ${point}, ready again after ${downMs} ms`
    },
  }
}

const TYPE = 'https://schemas.openid.net/secevent/caep/event-type/session-revoked'

/** What an operator states goes through Postgres, whatever log is configured. */
async function state(scene: FaultScene, txn: string): Promise<void> {
  const sentAtMs = performance.now()
  const sub_id = { format: 'opaque', id: 'agent-7' }
  await scene.admin.call('POST', '/v1/events', { type: TYPE, sub_id, event: {}, txn })
  scene.ledger.accepted(txn, { sentAtMs, subject: 'agent-7', effect: 'tightens' })
}

const stated: Row = {
  id: 'C3',
  title: 'kill -9 after a decision of the hub is committed, before its fan-out',
  expected: 'delivered soon after the restart, once',
  async run(rig) {
    const hub = await rig.hub({ env: crashAt('fanout.read', 1) })
    const scene = await rig.scene([hub])
    await rig.during(async () => {
      await state(scene, 'decided')
      assert.equal((await hub.ended(30_000)).signal, 'SIGKILL')
      await hub.revive()
    })
    return 'the event was committed before the kill and went out after it'
  },
}

const relayed: Row = {
  id: 'C4',
  title: 'kill -9 after the broker took a copy, before its row is removed',
  expected: 'the record is copied twice and has one effect',
  async run(rig) {
    const kafka = await rig.kafkaEnv()
    const hub = await rig.hub({ env: { ...kafka, ...crashAt('relay.copied', 1) } })
    const scene = await rig.scene([hub])
    await rig.during(async () => {
      await state(scene, 'relayed')
      assert.equal((await hub.ended(30_000)).signal, 'SIGKILL')
      await hub.revive()
    })
    const left = () => ask(scene.databaseUrl, 'select id from event_log')
    await waitUntil('the copies are made again', async () => (await left()).length === 0)
    const repeats = () => readMetric(hub, 'firebreak_events_total')
    await waitUntil('both copies are read', async () => (await repeats()) >= 2)
    return 'copied again after the restart; both copies are known as repeats'
  },
}

const consumed: Row = {
  id: 'C5',
  title: 'kill -9 after an event is consumed, before its POST; two hubs',
  expected: 'the other hub sends within 10 s',
  async run(rig) {
    const [victim, other] = await rig.twoHubs()
    const scene = await rig.scene([other, victim], { push: 3, poll: 1 })
    victim.signal('SIGKILL')
    await victim.ended()
    Object.assign(victim.env, crashAt('fanout.committed', 3))
    victim.start()
    await victim.ready()
    const load = rig.load(scene)
    const silentMs = await rig.during(async () => {
      assert.equal((await victim.ended(60_000)).signal, 'SIGKILL')
      const died = performance.now()
      const before = scene.ledger.acceptedCount()
      const due = () => scene.ledger.streams().every((name) => scene.ledger.missing(name).length === 0)
      await load.stop()
      await waitUntil('the other hub has sent it all', due, { deadlineMs: 20_000 })
      assert.ok(before > 0)
      return performance.now() - died
    })
    return `all that the dead one held went out ${(silentMs / 1000).toFixed(1)} s after its end, by the other`
  },
}

const unwritten: Row = {
  ...crashRow(
    {
      id: 'C6',
      title: 'kill -9 after an endpoint answered, before that is written',
      expected: 'sent again under the same jti, one effect',
      quick: true,
    },
    'push.answered',
    40,
  ),
}

const uncommitted: Row = {
  id: 'C7',
  title: 'kill -9 after results are written, before the Kafka positions are committed',
  expected: 'what is read again is known; nothing is sent twice',
  async run(rig) {
    const kafka = await rig.kafkaEnv()
    const hub = await rig.hub({ env: kafka })
    const scene = await rig.scene([hub])
    const load = rig.load(scene)
    await load.goesOn(120, 'at first')
    await load.stop()
    await scene.settled(60_000)
    const before = scene.ledger.streams().map((name) => scene.ledger.receipts(name).length)
    hub.signal('SIGKILL')
    await hub.ended()
    // The state that such a kill leaves, and more of it: every position back at the start, every result in place.
    const { KAFKA_BROKERS = '', KAFKA_TOPIC_PREFIX = '' } = kafka
    await rig.during(async () => {
      await rewindGroups(KAFKA_BROKERS.split(','), KAFKA_TOPIC_PREFIX)
      hub.start()
      await hub.ready()
      await waitUntil(
        'all is read again',
        async () => (await readMetric(hub, 'firebreak_events_total')) >= load.accepted,
      )
    })
    const after = scene.ledger.streams().map((name) => scene.ledger.receipts(name).length)
    assert.deepEqual(after, before, 'something was sent again')
    return `${load.accepted} records were read again, none was sent again`
  },
}

const polled: Row = {
  id: 'C8',
  title: 'kill -9 after a poll was answered, before the client acknowledged',
  expected: 'the SETs are handed out again under the same jti',
  async run(rig) {
    const hub = await rig.hub({ env: crashAt('poll.answered', 3) })
    const scene = await rig.scene([hub], { push: 1, poll: 0 })
    const names = ['poll 1', 'poll 2']
    for (const name of names) await scene.addPoll(name, { forgets: true })
    const downMs = await crashUnderLoad(rig, hub, scene)
    const again = names.map((name) => scene.ledger.duplicates(name)).reduce((sum, count) => sum + count)
    assert.ok(again > 0, 'nothing was handed out twice')
    return `ended at the 3rd answer, ready again after ${downMs} ms; ${again} SETs were handed out again`
  },
}

const migrating: Row = {
  id: 'C9',
  title: 'kill -9 half-way in a migration; then two hubs migrate together, one session cut',
  expected: 'the lock is released, the next start is clean',
  async run(rig) {
    const server = await rig.postgres()
    const pass = 2 + Math.floor(rig.random() * 12)
    const env = { ...crashAt('migration.applied', pass), ISSUER: 'http://127.0.0.1:8080' }
    const first = await rig.hub({ databaseUrl: server.url, env, start: false })
    const second = await rig.hub({ databaseUrl: server.url, env: { ISSUER: env.ISSUER }, start: false })
    return await rig.during(async () => {
      first.start()
      assert.equal((await first.ended(30_000)).signal, 'SIGKILL')
      const applied = () => ask<{ name: string }>(server.url, 'select name from schema_migrations')
      assert.deepEqual(await applied(), [], 'a part of the migrations stands')
      // The second loses the session that holds the lock while it migrates.
      second.start()
      const cut = () =>
        ask(
          server.url,
          `select pg_terminate_backend(pid) from pg_stat_activity
           where application_name like 'firebreak migrate%' and state is not null`,
        )
      await waitUntil('a migrating session is cut', async () => (await cut()).length > 0)
      await second.ended(20_000).catch(() => {})
      await Promise.all([first.revive(), second.revive()])
      const scene = await rig.scene([first, second])
      const load = rig.load(scene)
      await load.goesOn(24, 'at first')
      await load.stop()
      return `ended after migration ${pass}, none of them stood; ${(await applied()).length} stand in the end`
    })
  },
}

const drained: Row = {
  id: 'C10',
  title: 'SIGTERM of one of two hubs under load',
  expected: 'readiness goes first, what is in flight ends, exit 0, nothing lost',
  quick: true,
  async run(rig) {
    const [leaving, staying] = await rig.twoHubs()
    const scene = await rig.scene([staying, leaving])
    const load = rig.load(scene)
    await load.goesOn(48, 'at first')
    const seen = await rig.during(async () => {
      const statuses: number[] = []
      let over = false
      const watching = (async () => {
        while (!over) {
          const answer = await fetch(`${leaving.managementUrl}/health/ready`).catch(() => undefined)
          statuses.push(answer?.status ?? 0)
          await answer?.arrayBuffer()
        }
      })()
      leaving.signal('SIGTERM')
      const { code } = await leaving.ended(20_000)
      over = true
      await watching
      assert.equal(code, 0)
      assert.ok(statuses.includes(503), `readiness said ${[...new Set(statuses)]}`)
      return statuses
    })
    leaving.start()
    await leaving.ready()
    await load.stop()
    return `readiness answered ${[...new Set(seen)].filter(Boolean).join(', then ')}; exit 0`
  },
}

const PERIOD_MS = 5_000
const FULL_KILLS = 24

const killed: Row = {
  id: 'C11',
  title: 'one of two hubs is killed at random every 5 s for 2 minutes, under load',
  expected: 'zero lost; repeats bounded and counted; p99 and recovery printed',
  bounds: { repeatsPart: 1 },
  async run(rig) {
    const pair = await rig.twoHubs()
    const scene = await rig.scene(pair, { push: 3, poll: 1 })
    const load = rig.load(scene)
    const kills = Math.max(4, Math.round(FULL_KILLS * rig.scale))
    await rig.during(async () => {
      for (let n = 0; n < kills; n += 1) {
        const victim = pair[rig.random() < 0.5 ? 0 : 1] as FaultHub
        const next = performance.now() + PERIOD_MS
        victim.signal('SIGKILL')
        await victim.ended()
        victim.start()
        // A terminal of its own: it may be killed again before it was ready.
        await waitUntil('the next kill is due', () => performance.now() > next)
      }
      await Promise.all(pair.map((hub) => hub.ready()))
    })
    const { refused } = await load.stop()
    const failed = [...refused].map(([status, count]) => `${count} × ${status || 'no answer'}`).join(', ')
    return `${kills} kills; pushes that were repeated: ${failed || 'none'}`
  },
}

export const CRASH_ROWS: readonly Row[] = [
  crashRow(
    {
      id: 'C1',
      title: 'kill -9 after a SET is read, before the log append',
      expected: 'no 202; the repeat of the sender stores one event',
    },
    'ingest.verified',
    40,
  ),
  crashRow(
    {
      id: 'C2',
      title: 'kill -9 after the log append, before the 202',
      expected: 'the same jti again is 202 and one event',
    },
    'ingest.stored',
    40,
  ),
  stated,
  relayed,
  consumed,
  unwritten,
  uncommitted,
  polled,
  migrating,
  drained,
  killed,
]
