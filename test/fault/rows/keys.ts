import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { readMetric } from '../../support/hub-scene.js'
import { pushSet } from '../../support/set-producer.js'
import { waitUntil } from '../../support/wait.js'
import { alertIsOpen } from '../alerts.js'
import { createHubClock } from '../hub-clock.js'
import { type KeyAnswer, type KeyServer, startKeyServer } from '../key-server.js'
import type { FaultHub, FaultRig, FaultScene } from '../rig.js'
import type { Row } from '../row.js'
import type { RunningLoad } from '../running-load.js'

const MINUTE_MS = 60_000
/** As the hub has it: least time between two fetches of one issuer. */
const COOL_DOWN_MS = 5_000

interface Ready {
  readonly keys: KeyServer
  readonly hub: FaultHub
  readonly scene: FaultScene
  readonly load: RunningLoad
  readonly url: string
}

/** A hub that fetches the keys of its upstream, under load. */
async function underLoad(rig: FaultRig, env: Record<string, string> = {}): Promise<Ready> {
  const keys = await startKeyServer('idp')
  rig.atEnd(() => keys.close())
  const hub = await rig.hub({ env })
  const scene = await rig.scene([hub], { push: 1, poll: 1, upstream: keys.upstream })
  const load = rig.load(scene)
  await load.goesOn(36, 'at first')
  return { keys, hub, scene, load, url: scene.ingestUrls[0] as string }
}

/**
 * Asks until the hub answers as it should; no answer of another kind than those named may come before it.
 * @param sign a SET of its own for each try, counted from 1: several may be taken
 */
async function comesTo(
  url: string,
  sign: (number: number) => Promise<string>,
  wanted: { status: number; before: readonly number[] },
): Promise<void> {
  let tries = 0
  await waitUntil(`the hub answers ${wanted.status}`, async () => {
    tries += 1
    const status = await pushSet(url, await sign(tries))
    if (status !== wanted.status) assert.ok(wanted.before.includes(status ?? 0), `the hub answered ${status}`)
    return status === wanted.status
  })
}

const away: Row = {
  id: 'J1',
  title: 'the issuer serves no keys for an hour, then for a day and more',
  expected: 'known keys count for 24 h; an unknown one is 503, never 400; an alert tells; back, all goes on',
  async run(rig) {
    const clock = await createHubClock(rig)
    const { keys, hub, scene, load, url } = await underLoad(rig, {
      ...clock.env,
      ALERT_STREAM_FAILING_MS: '1000',
    })
    await rig.during(async () => {
      keys.answerWith('down')
      await clock.shift({ monotonicMs: 60 * MINUTE_MS })
      await load.goesOn(24, 'an hour later')
      assert.equal(await pushSet(url, await keys.signAs('nobody', 'of nobody')), 503)
      assert.ok((await readMetric(hub, 'firebreak_issuer_key_refreshes_total')) > 1)
      await alertIsOpen(scene, 'keys_unavailable', 'source:')
      await load.stop()
      await clock.shift({ monotonicMs: 25 * 60 * MINUTE_MS })
      await comesTo(url, (n) => keys.signAs('first', `a day later ${n}`), { status: 503, before: [202] })
      keys.answerWith('keys')
    })
    const again = rig.load(scene)
    await again.goesOn(24, 'when the keys are back')
    await again.stop()
    return 'known keys after 1 h: 202; an unknown one: 503; known ones after 25 h: 503; with the keys back: 202'
  },
}

const changed: Row = {
  id: 'J2',
  title: 'the issuer changes its key under load',
  expected: 'the first SET of the new key is taken within a cool-down, none is lost',
  async run(rig) {
    const { keys, load, url } = await underLoad(rig)
    const rounds = Math.max(2, Math.round(6 * rig.scale))
    const tookMs: number[] = []
    await rig.during(async () => {
      for (let n = 0; n < rounds; n += 1) {
        await keys.rotate()
        const began = performance.now()
        const sign = (tried: number) =>
          keys.upstream.sign({ txn: `of key ${keys.kid()}, ${tried}`, user: `key ${n}` })
        await comesTo(url, sign, { status: 202, before: [503] })
        tookMs.push(performance.now() - began)
        await delay(rig.scaled(10_000, 500))
      }
    })
    await load.stop()
    const longest = Math.max(...tookMs)
    assert.ok(longest < COOL_DOWN_MS * 3, `the first SET of a new key was taken after ${longest} ms`)
    return `${rounds} changes; the first SET of a new key was taken after ${Math.round(longest)} ms at most`
  },
}

const flooded: Row = {
  id: 'J3',
  title: 'SETs of unknown keys by the thousand while the issuer changes its key',
  expected:
    'one fetch per cool-down at most; the new key is taken all the same; never 400 before a fetch proves it',
  async run(rig) {
    const { keys, load, url } = await underLoad(rig)
    const seen = new Map<number, number>()
    let over = false
    rig.atEnd(() => {
      over = true
    })
    const flood = async () => {
      const set = await keys.signAs('nobody', 'of nobody')
      while (!over) {
        const status = (await pushSet(url, set)) ?? 0
        seen.set(status, (seen.get(status) ?? 0) + 1)
        await delay(20)
      }
    }
    let tookMs = 0
    const fetchedBefore = keys.fetches()
    const began = performance.now()
    await rig.during(async () => {
      const flooding = Array.from({ length: 8 }, flood)
      await delay(rig.scaled(30_000, 2_000))
      await keys.rotate()
      const changedAt = performance.now()
      const sign = (n: number) => keys.upstream.sign({ txn: `of the new key ${n}`, user: 'new key' })
      await comesTo(url, sign, { status: 202, before: [503] })
      tookMs = performance.now() - changedAt
      await delay(rig.scaled(30_000, 2 * COOL_DOWN_MS))
      over = true
      await Promise.all(flooding)
    })
    const most = Math.ceil((performance.now() - began) / COOL_DOWN_MS) + 1
    const fetched = keys.fetches() - fetchedBefore
    await load.stop()
    assert.ok(fetched <= most, `${fetched} fetches, ${most} at most`)
    assert.deepEqual(
      [...seen.keys()].filter((status) => status !== 400 && status !== 503),
      [],
    )
    const count = [...seen.values()].reduce((sum, value) => sum + value, 0)
    return `${count} SETs of unknown keys cost ${fetched} fetches; the new key was taken after ${Math.round(tookMs)} ms`
  },
}

const removed: Row = {
  id: 'J4',
  title: 'the issuer takes a key away',
  expected: 'refused with 400 after the next refresh, at most 5 min later; the others go on',
  async run(rig) {
    const clock = await createHubClock(rig)
    const { keys, load, url } = await underLoad(rig, clock.env)
    await rig.during(async () => {
      await keys.rotate()
      await load.goesOn(24, 'with the new key')
      keys.forgetOldKeys()
      assert.equal(await pushSet(url, await keys.signAs('first', 'still believed')), 202)
      await clock.shift({ monotonicMs: 6 * MINUTE_MS })
      const sign = (n: number) => keys.signAs('first', `believed no more ${n}`)
      await comesTo(url, sign, { status: 400, before: [202, 503] })
    })
    await load.goesOn(24, 'afterwards')
    await load.stop()
    return 'the old key was refused with 400 once 6 minutes had gone by'
  },
}

const BROKEN: readonly KeyAnswer[] = ['endless', 'drips', 'redirects', 'no JSON', 'HTML', 'ten thousand keys']

const broken: Row = {
  id: 'J6',
  title: 'the keys are endless, drip, redirect, are cut off, are HTML, are ten thousand',
  expected: 'known keys count on, unknown ones are 503; memory stays; mended, all goes on',
  async run(rig) {
    const { keys, hub, load, url } = await underLoad(rig)
    const rss = () => readMetric(hub, 'process_resident_memory_bytes')
    const before = await rss()
    let most = before
    const refused = () => readMetric(hub, 'firebreak_issuer_key_refreshes_total')
    await rig.during(async () => {
      for (const answer of BROKEN) {
        keys.answerWith(answer)
        const asked = keys.fetches()
        const known = await refused()
        // Each asks once its cool-down is over, and is told to come back.
        await waitUntil(`the hub has asked for keys: ${answer}`, async () => {
          const status = await pushSet(url, await keys.signAs('nobody', `with ${answer}`))
          assert.equal(status, 503, `${answer}: an unknown key was answered ${status}`)
          most = Math.max(most, await rss())
          return keys.fetches() > asked && (await refused()) > known
        })
        await load.goesOn(24, `while the keys are ${answer}`)
      }
      keys.answerWith('keys')
      await keys.rotate()
      await load.goesOn(24, 'when the keys are mended')
    })
    await load.stop()
    const growth = Math.round((most - before) / 1_048_576)
    assert.ok(growth < 96, `memory grew by ${growth} MiB`)
    return `${BROKEN.length} kinds of broken keys; memory grew by ${growth} MiB at most`
  },
}

export const KEY_ROWS: readonly Row[] = [away, changed, flooded, removed, broken]
