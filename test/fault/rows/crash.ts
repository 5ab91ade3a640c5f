import assert from 'node:assert/strict'
import { waitUntil } from '../../support/wait.js'
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
  const began = performance.now()
  const downMs = await rig.during(async () => {
    assert.equal((await hub.ended(60_000)).signal, 'SIGKILL')
    const died = performance.now()
    await hub.revive()
    return performance.now() - died
  })
  const soFar = load.accepted
  await waitUntil('the load goes on', () => load.accepted > soFar + 24)
  await load.stop()
  assert.ok(performance.now() - began > 0)
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

const relayed: Row = {
  id: 'C4',
  title: 'kill -9 after the broker took a copy, before its row is removed',
  expected: 'the record is copied twice and has one effect',
  async run(rig) {
    const kafka = await rig.kafkaEnv()
    const hub = await rig.hub({ env: { ...kafka, ...crashAt('relay.copied', 1) } })
    const scene = await rig.scene([hub])
    // What an operator states goes through Postgres, and is copied for other readers of the topics.
    const emit = (txn: string) =>
      scene.admin.call('POST', '/v1/events', {
        type: 'https://schemas.openid.net/secevent/caep/event-type/session-revoked',
        sub_id: { format: 'opaque', id: 'agent-7' },
        event: {},
        txn,
      })
    await rig.during(async () => {
      await emit('relayed')
      scene.ledger.accepted('relayed')
      assert.equal((await hub.ended(30_000)).signal, 'SIGKILL')
      await hub.revive()
    })
    const left = () => ask<{ count: string }>(scene.databaseUrl, 'select count(*) from event_log')
    await waitUntil('the copies are made again', async () => (await left())[0]?.count === '0')
    return 'copied again after the restart; one event, one SET per stream'
  },
}

const polled: Row = {
  id: 'C8',
  title: 'kill -9 after a poll was answered, before the client acknowledged',
  expected: 'the SETs are handed out again under the same jti',
  quick: true,
  async run(rig) {
    const hub = await rig.hub({ env: crashAt('poll.answered', 3) })
    const scene = await rig.scene([hub], { push: 1, poll: 2 })
    const downMs = await crashUnderLoad(rig, hub, scene)
    return `ended at the 3rd answer, ready again after ${downMs} ms`
  },
}

export const CRASH_ROWS: readonly Row[] = [
  crashRow(
    {
      id: 'C1',
      title: 'kill -9 after a SET is read, before the log append',
      expected: 'no 202; the repeat of the sender stores one event',
      quick: true,
    },
    'ingest.verified',
    40,
  ),
  crashRow(
    {
      id: 'C2',
      title: 'kill -9 after the log append, before the 202',
      expected: 'the same jti again is 202 and one event',
      quick: true,
    },
    'ingest.stored',
    40,
  ),
  relayed,
  polled,
]
