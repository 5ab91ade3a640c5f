import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { pushSet } from '../../support/set-producer.js'
import { waitUntil } from '../../support/wait.js'
import { alertIsOpen } from '../alerts.js'
import { createHubClock } from '../hub-clock.js'
import type { FaultScene } from '../rig.js'
import type { Row } from '../row.js'
import { ask } from '../sql.js'

const TEN_MINUTES_MS = 600_000

/** No time to revoke is below zero, and none is longer than the row took. Answers how many there are. */
async function latenciesAreTrue({ databaseUrl, admin }: FaultScene): Promise<number> {
  const rows = await ask<{ count: number; least: number; most: number }>(
    databaseUrl,
    `select count(*)::int as count, min(extract(epoch from received_at - accepted_at))::float8 as least,
            max(extract(epoch from received_at - accepted_at))::float8 as most
     from deliveries where received_at is not null`,
  )
  const { count, least, most } = rows[0] as { count: number; least: number; most: number }
  // The stamp is of a process, the receipt of perhaps another: they agree to within their measurements of one clock.
  assert.ok(least > -0.25, `an event was received ${-least} s before it was accepted`)
  assert.ok(most < TEN_MINUTES_MS / 2_000, `an event took ${most} s`)
  const { items } = await admin.call<{ items: Record<string, unknown>[] }>('GET', '/v1/time-to-revoke')
  const told = JSON.stringify(items)
  assert.doesNotMatch(told, /:-\d/, `a figure below zero: ${told}`)
  return count
}

function wrong(row: Pick<Row, 'id' | 'title' | 'quick'>, wallMs: number): Row {
  return {
    ...row,
    expected: 'all goes on, an alert tells; no time to revoke is below zero or wrong by the shift',
    async run(rig) {
      const clock = await createHubClock(rig)
      await clock.shift({ wallMs })
      const hub = await rig.hub({ env: clock.env })
      const scene = await rig.scene([hub])
      const load = rig.load(scene)
      await rig.during(async () => {
        await load.goesOn(36, 'by the clocks of now')
        await alertIsOpen(scene, 'clock_skew', 'clock:')
      })
      await load.stop()
      await scene.settled()
      return `${await latenciesAreTrue(scene)} latencies, none of them below zero`
    },
  }
}

const jumping: Row = {
  id: 'T3',
  title: 'the clock of the machine is set 10 minutes back, and then forth, under load',
  expected: 'leases, order and latencies stay as they are',
  async run(rig) {
    const clock = await createHubClock(rig)
    const hub = await rig.hub({ env: clock.env })
    const scene = await rig.scene([hub])
    const load = rig.load(scene)
    await load.goesOn(36, 'by the clocks of now')
    const before = await epochs(scene)
    await rig.during(async () => {
      for (const wallMs of [-TEN_MINUTES_MS, TEN_MINUTES_MS, 0]) {
        await clock.shift({ wallMs })
        await load.goesOn(36, 'by the clocks of now')
        await delay(rig.scaled(30_000, 2_500))
      }
    })
    await load.stop()
    await scene.settled()
    assert.ok(hub.isUp())
    assert.deepEqual(await epochs(scene), before, 'leases changed hands')
    return `set three times; ${await latenciesAreTrue(scene)} latencies, none of them below zero`
  },
}

const epochs = ({ databaseUrl }: FaultScene) =>
  ask(databaseUrl, 'select kind, unit, epoch from leases order by kind, unit')

const apart: Row = {
  id: 'T4',
  title: 'two hubs whose clocks are 20 minutes apart; one is killed',
  expected: 'takeover as ever, for leases live by the clock of the database',
  async run(rig) {
    const [fast, slow] = [await createHubClock(rig), await createHubClock(rig)]
    await fast.shift({ wallMs: TEN_MINUTES_MS })
    await slow.shift({ wallMs: -TEN_MINUTES_MS })
    const [ahead, behind] = await rig.twoHubs(fast.env, slow.env)
    const scene = await rig.scene([behind, ahead])
    const load = rig.load(scene)
    await load.goesOn(36, 'by the clocks of now')
    const silentMs = await rig.during(async () => {
      ahead.signal('SIGKILL')
      await ahead.ended()
      const died = performance.now()
      await load.goesOn(36, 'by the clocks of now')
      await load.stop()
      await waitUntil('all is delivered', scene.ledger.complete, { deadlineMs: 20_000 })
      return performance.now() - died
    })
    return `all delivered ${(silentMs / 1000).toFixed(1)} s after the kill; ${await latenciesAreTrue(scene)} latencies, none of them below zero`
  },
}

const sender: Row = {
  id: 'T5',
  title: 'a sender whose clock is 10 minutes ahead, and one 10 minutes behind',
  expected: 'none is refused; latency is not counted from their stamps; an alert tells of the source',
  async run(rig) {
    const hub = await rig.hub()
    const scene = await rig.scene([hub])
    const [url = ''] = scene.ingestUrls
    const load = rig.load(scene)
    await load.goesOn(36, 'by the clocks of now')
    const rounds = Math.max(10, Math.round(200 * rig.scale))
    const quarantined = await rig.during(async () => {
      for (let n = 0; n < rounds; n += 1) {
        const nowS = Math.floor(Date.now() / 1000)
        await pushStamped({ scene, url, txn: `behind ${n}`, iatS: nowS - 600 })
        await pushStamped({ scene, url, txn: `ahead ${n}`, iatS: nowS + 600 })
      }
      return await waitUntil('all are stored', async () => {
        const rows = await ask<{ txn: string; quarantine: string | null }>(
          scene.databaseUrl,
          `select txn, quarantine from events where txn like 'behind %' or txn like 'ahead %'`,
        )
        return rows.length === 2 * rounds ? rows.filter(({ quarantine }) => quarantine !== null) : undefined
      })
    })
    await load.stop()
    await waitUntil('those behind arrive', () => arrived(scene, 'behind ') === rounds)
    assert.ok(quarantined.every(({ txn }) => txn.startsWith('ahead ')))
    assert.equal(arrived(scene, 'ahead '), rounds - quarantined.length)
    await alertIsOpen(scene, 'clock_skew', 'source:')
    await latenciesAreTrue(scene)
    return `${rounds} of each; of those ahead ${quarantined.length} were set aside with a reason; an alert tells of the source`
  },
}

const arrived = ({ ledger }: FaultScene, start: string) =>
  new Set(
    ledger
      .receipts('push 1')
      .map(({ txn }) => txn)
      .filter((txn) => txn.startsWith(start)),
  ).size

async function pushStamped(stamped: {
  scene: FaultScene
  url: string
  txn: string
  iatS: number
}): Promise<void> {
  const { scene, url, txn, iatS } = stamped
  const set = await scene.upstream.sign({ txn, user: txn, iatS })
  assert.equal(await pushSet(url, set), 202, txn)
}

export const CLOCK_ROWS: readonly Row[] = [
  wrong(
    { id: 'T1', title: 'the clock of the hub is 10 minutes ahead of the database', quick: true },
    TEN_MINUTES_MS,
  ),
  wrong({ id: 'T2', title: 'the clock of the hub is 10 minutes behind the database' }, -TEN_MINUTES_MS),
  jumping,
  apart,
  sender,
]
