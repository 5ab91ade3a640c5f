import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHmac, randomUUID } from 'node:crypto'
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { checkAlertLog, createAlertLog } from '../../src/alerts/alert-log.js'
import { exposeAlerts } from '../../src/alerts/alert-metrics.js'
import { alertRepository } from '../../src/alerts/alert-repository.js'
import { type Tell, tellWithin } from '../../src/alerts/tell.js'
import { createMetrics } from '../../src/kernel/metrics.js'
import type { Database } from '../../src/storage/database.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'
import {
  type AlertProcess,
  conditionOf,
  outgoing,
  type ScriptedProbe,
  SECRET,
  scriptedProbe,
  startProcess,
  webhookTo,
} from './alert-rig.js'
import { type Posted, startWebhookEndpoint, type WebhookEndpoint } from './webhook-endpoint.js'

const LAG = conditionOf('delivery_lag', 'lane:urgent', { lane: 'urgent' })

const noticeOf = (name: string) => ({
  channel: 'webhook' as const,
  noticeId: `msg_${name}`,
  alertId: randomUUID(),
  body: '{"type":"alert.opened","data":{}}',
})

function signatureOf(post: Pick<Posted, 'id' | 'timestamp'>, body: string, secret = SECRET): string {
  const mac = createHmac('sha256', secret).update(`${post.id}.${post.timestamp}.${body}`)
  return `v1,${mac.digest('base64')}`
}

describe('alerts: told once, with recovery', function () {
  this.timeout(60_000)
  let test: TestDatabase
  let endpoint: WebhookEndpoint
  let probe: ScriptedProbe
  const door = outgoing()
  const processes: AlertProcess[] = []
  const folder = mkdtempSync(join(tmpdir(), 'firebreak-alerts-'))

  before(async () => {
    test = await createTestDatabase()
  })
  beforeEach(async () => {
    endpoint = await startWebhookEndpoint()
    probe = scriptedProbe('delivery_lag', 'sets_parked')
  })
  afterEach(async () => {
    for (const process of processes.splice(0)) await process.stop()
    await endpoint.shut().catch(() => {})
    await test.db.raw('truncate alerts, alert_notices')
  })
  after(async () => {
    await door.close()
    await test.close()
    rmSync(folder, { recursive: true })
  })

  async function start(
    options: { tell?: Tell; log?: Tell; maxOpenOfAKind?: number } = {},
  ): Promise<AlertProcess> {
    const { tell = webhookTo(endpoint.url, door), log, maxOpenOfAKind } = options
    const process = await startProcess({
      db: test.db,
      probes: [probe],
      tell: { webhook: tell, ...(log ? { log } : {}) },
      ...(maxOpenOfAKind === undefined ? {} : { maxOpenOfAKind }),
    })
    processes.push(process)
    return process
  }

  const types = () => endpoint.posts.map(({ type }) => type)
  const alerts = () =>
    test.db('alerts').orderBy('opened_at').select<{ object: string; resolved_at: Date | null }[]>('*')
  const looks = async (count: number) => {
    const until = probe.looks() + count
    await waitUntil(`${count} more looks`, () => probe.looks() >= until)
  }
  const isEmpty = async () => (await test.db('alert_notices').select('seq')).length === 0
  const resolved = async () => (await alerts()).every((alert) => alert.resolved_at !== null)

  it('once while two processes look at once, and once more when it is over', async () => {
    await start()
    await start()
    await looks(2)
    assert.deepEqual(endpoint.posts, [])
    probe.find(LAG)
    await waitUntil('the alert is told', () => endpoint.posts.length > 0)
    await looks(10)
    assert.deepEqual(types(), ['alert.opened'])
    probe.find()
    await waitUntil('the recovery is told', () => endpoint.posts.length > 1)
    await looks(10)
    await waitUntil('nothing waits', isEmpty)
    assert.deepEqual(types(), ['alert.opened', 'alert.resolved'])
    assert.equal((await alerts()).length, 1)
    const [opened, over] = endpoint.posts.map(({ body }) => JSON.parse(body))
    assert.deepEqual(
      { ...opened.data, id: 0, opened_at: 0, last_seen_at: 0 },
      {
        id: 0,
        kind: 'delivery_lag',
        object: 'lane:urgent',
        severity: 'critical',
        state: 'open',
        summary: 'delivery_lag at lane:urgent',
        detail: { lane: 'urgent' },
        opened_at: 0,
        last_seen_at: 0,
        resolved_at: null,
        reopened: 0,
      },
    )
    assert.equal(opened.timestamp, opened.data.opened_at)
    assert.equal(over.data.id, opened.data.id)
    assert.equal(over.data.state, 'resolved')
    assert.equal(over.timestamp, over.data.resolved_at)
    assert.equal(new Set(endpoint.posts.map(({ id }) => id)).size, 2)
  })

  it('anew when it comes back after its recovery', async () => {
    await start()
    for (const count of [1, 2]) {
      probe.find(LAG)
      await waitUntil('it is open', async () => (await alerts()).length === count)
      probe.find()
      await waitUntil('it is over', resolved)
    }
    await waitUntil('all is told', () => endpoint.posts.length === 4)
    assert.deepEqual(types(), ['alert.opened', 'alert.resolved', 'alert.opened', 'alert.resolved'])
  })

  it('not at all when it is seen in one look only', async () => {
    let calls = 0
    const once = {
      ...probe,
      look: async () => {
        await probe.look()
        calls += 1
        return calls % 2 === 0 ? [LAG] : []
      },
    }
    processes.push(
      await startProcess({
        db: test.db,
        probes: [once],
        tell: { webhook: webhookTo(endpoint.url, door) },
      }),
    )
    await looks(12)
    assert.deepEqual(await alerts(), [])
  })

  it('by nobody who does not hold the lease, and by the next one who does', async () => {
    probe.find(LAG)
    const first = await start()
    await waitUntil('it is told', () => endpoint.posts.length === 1)
    first.lead(false)
    const idle = probe
    probe = scriptedProbe('delivery_lag')
    probe.find(LAG)
    await start()
    await looks(2)
    const before = idle.looks()
    await looks(8)
    assert.equal(idle.looks(), before)
    probe.find()
    await waitUntil('its end is told', () => endpoint.posts.length === 2)
    assert.deepEqual(types(), ['alert.opened', 'alert.resolved'])
  })

  it('by nobody who lost the lease while looking', async () => {
    let release: () => void = () => {}
    const slow = {
      ...scriptedProbe('delivery_lag'),
      look: async () => {
        await probe.look()
        if (probe.looks() > 1)
          await new Promise<void>((resolve) => {
            release = resolve
          })
        return [LAG]
      },
    }
    const process = await startProcess({ db: test.db, probes: [slow], tell: {} })
    processes.push(process)
    await waitUntil('it looks for the second time', () => probe.looks() === 2)
    process.lead(false)
    release()
    await process.stop()
    assert.deepEqual(await alerts(), [])
  })

  it('as over only by a look that could see', async () => {
    probe.find(LAG)
    await start()
    await waitUntil('it is open', async () => (await alerts()).length === 1)
    probe.fail(new Error('the database is busy'))
    await looks(2)
    await test.db.raw("update alerts set last_seen_at = now() - interval '1 hour'")
    await looks(5)
    assert.equal(await resolved(), false)
    probe.find(LAG)
    await looks(3)
    assert.equal(await resolved(), false, 'touched before anything is resolved')
    probe.find()
    await waitUntil('it is over', resolved)
  })

  it('by one process only, when two ask at once for what waits', async () => {
    const notices = ['a', 'b', 'c'].map(noticeOf)
    const claim = (db: Database, limit: number) =>
      alertRepository.claimNotices(db, 'webhook', { limit, forMs: 60_000 })
    const ids = (claimed: readonly { noticeId: string }[]) => claimed.map(({ noticeId }) => noticeId).sort()
    await test.db.transaction((trx) => alertRepository.addNotices(trx, notices))
    await test.db.transaction(async (trx) => {
      assert.deepEqual(ids(await claim(trx, 2)), ['msg_a', 'msg_b'])
      assert.deepEqual(
        ids(await claim(test.db, 5)),
        ['msg_c'],
        'it neither waits for the other nor takes the same',
      )
    })
    assert.deepEqual(await claim(test.db, 5), [])
  })

  it('as one alert for the rest when too many of a kind come at once', async () => {
    await start({ maxOpenOfAKind: 3 })
    const parked = Array.from({ length: 8 }, (_, number) => conditionOf('sets_parked', `stream:${number}`))
    probe.find(...parked, LAG)
    await waitUntil('they are told', () => endpoint.posts.length === 5)
    await looks(5)
    assert.deepEqual(endpoint.posts.map(({ object }) => object).sort(), [
      'lane:urgent',
      'others',
      'stream:0',
      'stream:1',
      'stream:2',
    ])
    const rest = endpoint.posts.find(({ object }) => object === 'others')
    assert.deepEqual(JSON.parse(rest?.body ?? '').data.detail, { count: 5 })
    probe.find()
    await waitUntil('all are over', resolved)
  })

  it('with a signature that verifies, and does not for a changed body, id, time or secret', async () => {
    probe.find(LAG)
    const other = Buffer.alloc(32, 7)
    await start({ tell: webhookTo(endpoint.url, door, [SECRET, other]) })
    const post = await waitUntil('it is told', () => endpoint.posts[0])
    const [first, second, ...more] = post.signature.split(' ')
    assert.deepEqual(more, [])
    assert.equal(first, signatureOf(post, post.body))
    assert.equal(second, signatureOf(post, post.body, other))
    assert.notEqual(first, signatureOf(post, post.body.replace('urgent', 'routine')))
    assert.notEqual(first, signatureOf({ ...post, id: 'msg_other' }, post.body))
    assert.notEqual(first, signatureOf({ ...post, timestamp: '1' }, post.body))
    assert.match(post.id, /^msg_[0-9a-f-]{36}$/)
    assert.ok(Math.abs(Number(post.timestamp) - Date.now() / 1000) < 60)
  })

  it('again with the same id and body after 500 and after a refused connection, and signed anew', async () => {
    endpoint.answerWith(() => 500)
    probe.find(LAG)
    await start()
    await waitUntil('it is tried twice', () => endpoint.posts.length >= 2)
    await endpoint.shut()
    const seen = endpoint.posts.length
    await waitUntil('a refused connection is noted', async () => {
      const [row] = await test.db('alert_notices').select('last_failure', 'attempts')
      return row?.last_failure === 'connect'
    })
    endpoint.answerWith(() => 200)
    await endpoint.open()
    await waitUntil('it is taken', isEmpty)
    assert.ok(endpoint.posts.length > seen)
    assert.equal(new Set(endpoint.posts.map(({ id, body }) => `${id} ${body}`)).size, 1)
    for (const post of endpoint.posts) assert.equal(post.signature, signatureOf(post, post.body))
    await looks(5)
    assert.deepEqual(
      types().filter((type) => type !== 'alert.opened'),
      [],
    )
  })

  it('later when the endpoint asks for it, and a redirect is no success', async () => {
    endpoint.answerWith(() => 302, { location: '/elsewhere', 'retry-after': '3600' })
    probe.find(LAG)
    await start()
    const later = async () => {
      const rows = await test
        .db('alert_notices')
        .select('last_failure')
        .whereRaw("next_attempt_at > now() + interval '50 minutes'")
      return rows[0] as { last_failure: string } | undefined
    }
    const { last_failure } = await waitUntil('it is put off', later)
    assert.equal(last_failure, 'answered 302')
    assert.equal(endpoint.posts.length, 1)
  })

  it('opening before recovery, while other alerts pass one that is not taken', async () => {
    endpoint.answerWith(({ object }) => (object === 'lane:urgent' ? 503 : 204))
    probe.find(LAG)
    const process = await start()
    await waitUntil('it is refused', () => endpoint.posts.length > 0)
    probe.find(conditionOf('sets_parked', 'stream:1'))
    await waitUntil('the first is over', async () => (await alerts())[0]?.resolved_at)
    await waitUntil('the other is told', () => endpoint.posts.some(({ object }) => object === 'stream:1'))
    assert.ok(!types().includes('alert.resolved'), 'the recovery waits for what it is the end of')
    endpoint.answerWith(() => 204)
    await waitUntil('all is taken', isEmpty)
    const ofFirst = endpoint.posts.filter(({ object }) => object === 'lane:urgent').map(({ type }) => type)
    assert.equal(ofFirst.at(-1), 'alert.resolved')
    assert.deepEqual(
      ofFirst.slice(0, -1).filter((type) => type !== 'alert.opened'),
      [],
    )
    const text = await process.metrics.render()
    assert.match(text, /firebreak_alert_notices_total\{channel="webhook",outcome="failed"\} \d/)
    assert.match(text, /firebreak_alert_notices_total\{channel="webhook",outcome="delivered"\} 3/)
  })

  it('again under the same id by the next process, when one dies between telling and noting it', async () => {
    const post = webhookTo(endpoint.url, door)
    let died: () => void = () => {}
    const told = new Promise<void>((resolve) => {
      died = resolve
    })
    probe.find(LAG)
    // What it knew of the answer is lost with it.
    const first = await start({
      tell: async (notice, signal) => {
        await post(notice, signal)
        died()
        return new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(new Error('dead')))
        })
      },
    })
    await told
    assert.equal(await isEmpty(), false)
    first.lead(false)
    await start()
    await looks(5)
    assert.equal(endpoint.posts.length, 1, 'it is still being told')
    await test.db.raw('update alert_notices set next_attempt_at = now()')
    await waitUntil('it is taken', isEmpty)
    assert.equal(endpoint.posts.length, 2)
    assert.equal(endpoint.posts[0]?.id, endpoint.posts[1]?.id)
    assert.equal(endpoint.posts[0]?.body, endpoint.posts[1]?.body)
  })

  it('to nobody any more after a week', async () => {
    endpoint.answerWith(() => 500)
    probe.find(LAG)
    const process = await start()
    await waitUntil('it is tried', () => endpoint.posts.length > 0)
    await test.db.raw(
      "update alert_notices set created_at = now() - interval '8 days', next_attempt_at = now()",
    )
    await waitUntil('it is given up', isEmpty)
    assert.match(await process.metrics.render(), /channel="webhook",outcome="given_up"\} 1/)
  })

  it('to nobody by a way out that was away for longer than a week, unlike what is younger', async () => {
    const notices = ['old', 'young'].map(noticeOf)
    await test.db.transaction((trx) => alertRepository.addNotices(trx, notices))
    await test.db.raw(
      `update alert_notices set created_at = now() - case notice_id when 'msg_old' then 169 else 167 end * interval '1 hour'`,
    )
    const process = await start()
    await waitUntil('nothing waits', isEmpty)
    assert.deepEqual(
      endpoint.posts.map(({ id }) => id),
      ['msg_young'],
    )
    assert.match(await process.metrics.render(), /channel="webhook",outcome="given_up"\} 1/)
  })

  it('no more at once than there are connections, so that none waits for one in its own time', async () => {
    const running = new Set<() => void>()
    let most = 0
    await test.db.transaction((trx) =>
      alertRepository.addNotices(
        trx,
        Array.from({ length: 11 }, (_, number) => noticeOf(String(number))),
      ),
    )
    await start({
      tell: async () => {
        await new Promise<void>((resolve) => {
          running.add(resolve)
          most = Math.max(most, running.size)
        })
        return { ok: true }
      },
    })
    for (const together of [4, 4, 3]) {
      await waitUntil(`${together} are told`, () => running.size === together)
      for (const end of running) end()
      running.clear()
    }
    await waitUntil('nothing waits', isEmpty)
    assert.equal(most, 4)
  })

  it('as over later each time it came back within the hour, and never later than twenty times', async () => {
    const open = async (before: number) => {
      await test.db.raw('truncate alerts')
      await test.db.raw(
        `insert into alerts (id, severity, kind, object, summary, detail, resolved_at)
         select gen_random_uuid(), 'critical', kind, object, '', '{}', now() - minutes * interval '1 minute'
         from (select 'delivery_lag', 'lane:urgent', n from generate_series(1, ?::int) n
           union all values ('delivery_lag', 'lane:urgent', 61), ('delivery_lag', 'lane:routine', 1))
           as earlier(kind, object, minutes)`,
        [before],
      )
      const [alert] = await test.db.transaction((trx) => alertRepository.open(trx, [LAG]))
      return alert?.reopened
    }
    const endsAfter = async (unseenS: number) => {
      await test.db.raw(
        "update alerts set last_seen_at = clock_timestamp() - ?::int * interval '1 second' where resolved_at is null",
        [unseenS],
      )
      const ended = await test.db.transaction((trx) =>
        alertRepository.resolveUnseen(trx, { forMs: 10_000, except: [] }),
      )
      return ended.length === 1
    }
    for (const [before, patienceS] of [
      [0, 10],
      [1, 20],
      [3, 80],
      [30, 200],
    ] as const) {
      assert.equal(await open(before), before)
      assert.equal(await endsAfter(patienceS - 5), false, `${before} times before`)
      assert.equal(await endsAfter(patienceS + 1), true, `${before} times before`)
    }
  })

  it('as lines of JSON too, in a file that may be rotated, whatever the webhook does', async () => {
    const file = join(folder, 'alerts.jsonl')
    endpoint.answerWith(() => 'never')
    await checkAlertLog(file)
    await start({ log: createAlertLog(file, { write: () => assert.fail() }) })
    const lines = (name = file): { id: string; type: string; data: { object: string } }[] =>
      readFileSync(name, 'utf8')
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line))
    probe.find(LAG)
    await waitUntil('the line is there', () => lines().length === 1)
    renameSync(file, `${file}.1`)
    probe.find()
    await waitUntil('the next file is begun', () => {
      try {
        return lines().length === 1
      } catch {
        return false
      }
    })
    const [opened] = lines(`${file}.1`)
    const [over] = lines()
    assert.deepEqual([opened?.type, over?.type], ['alert.opened', 'alert.resolved'])
    assert.equal(opened?.data.object, 'lane:urgent')
    const post = await waitUntil('the webhook hears of it', () => endpoint.posts[0])
    assert.equal(opened?.id, post.id)
    assert.deepEqual({ id: post.id, ...JSON.parse(post.body) }, opened)
  })

  it('on standard output when the file is -, and again after it could not be written', async () => {
    let text = ''
    let broken = true
    const log = createAlertLog('-', {
      write(line, done) {
        if (broken) return done(new Error('EPIPE'))
        text += line
        done()
      },
    })
    probe.find(LAG)
    await start({ log })
    await waitUntil('it failed', async () => {
      const rows = await test.db('alert_notices').where({ channel: 'log' }).select('last_failure')
      return rows[0]?.last_failure === 'EPIPE'
    })
    broken = false
    await waitUntil('it is written', () => text.endsWith('\n'))
    assert.equal(JSON.parse(text).type, 'alert.opened')
  })

  it('in time for the stop of the hub, though nobody reads what is written', async () => {
    probe.find(LAG)
    let begun = 0
    const process = await start({
      log: createAlertLog('-', {
        write: () => {
          begun += 1
        },
      }),
    })
    await waitUntil('a line is being written', () => begun === 1)
    await waitUntil('the webhook has it', () => endpoint.posts.length === 1)
    await process.stop()
    const waiting = await test.db('alert_notices').select('channel', 'attempts')
    assert.deepEqual(waiting, [{ channel: 'log', attempts: 0 }])
  })

  it('and counts what is open and what waits', async () => {
    const metrics = createMetrics()
    exposeAlerts(metrics, test.db)
    assert.match(await metrics.render(), /firebreak_alerts_open\{kind="delivery_lag"\} 0/)
    endpoint.answerWith(() => 500)
    probe.find(LAG)
    await start()
    await waitUntil('it is open', async () => (await alerts()).length === 1)
    const text = await metrics.render()
    assert.match(text, /firebreak_alerts_open\{kind="delivery_lag"\} 1/)
    assert.match(text, /firebreak_alerts_open\{kind="clock_skew"\} 0/)
    assert.match(text, /firebreak_alert_notices_waiting\{channel="webhook"\} 1/)
    assert.match(text, /firebreak_alert_notices_waiting\{channel="log"\} 0/)
  })
})

describe('alerts: a file that cannot be written', () => {
  it('is a failed attempt after the deadline, and nothing of it is written later', async () => {
    const waiting: ((error?: Error) => void)[] = []
    let text = ''
    const log = createAlertLog('-', {
      write(line, done) {
        text += line
        waiting.push(done)
      },
    })
    const notices = ['one', 'two'].map((id) => ({ id, body: '{}' }))
    const told = await Promise.all(notices.map((notice) => tellWithin(log, notice, { deadlineMs: 20 })))
    assert.deepEqual(told, [
      { ok: false, failure: 'timeout' },
      { ok: false, failure: 'timeout' },
    ])
    const third = tellWithin(log, { id: 'three', body: '{}' })
    waiting.shift()?.()
    await waitUntil('its turn has come', () => waiting.length === 1)
    waiting.shift()?.()
    assert.deepEqual(await third, { ok: true })
    assert.equal(text, '{"id":"one"}\n{"id":"three"}\n')
  })

  it('gets a line of its own after one that was torn, and no empty line after a whole one', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'firebreak-torn-'))
    const file = join(folder, 'alerts.jsonl')
    try {
      // As a full disk leaves it, or a process that died.
      writeFileSync(file, '{"id":"before"}\n{"id":"to')
      const log = createAlertLog(file, { write: () => assert.fail() })
      for (const id of ['one', 'two'])
        assert.ok((await log({ id, body: '{}' }, AbortSignal.timeout(5_000))).ok)
      assert.equal(readFileSync(file, 'utf8'), '{"id":"before"}\n{"id":"to\n{"id":"one"}\n{"id":"two"}\n')
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it('gets a line of its own on standard output too, when a part of the last one may have been written', async () => {
    let text = ''
    let room = 8
    const log = createAlertLog('-', {
      write(line, done) {
        text += line.slice(0, room)
        done(room < line.length ? new Error('ENOSPC') : undefined)
      },
    })
    const write = (id: string) => tellWithin(log, { id, body: '{}' })
    assert.ok(!(await write('one')).ok)
    room = 100
    for (const id of ['one', 'two']) assert.ok((await write(id)).ok)
    assert.equal(text, '{"id":"o\n{"id":"one"}\n{"id":"two"}\n')
  })

  it('is told at once when it is a pipe without a reader', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'firebreak-pipe-'))
    const pipe = join(folder, 'pipe')
    execFileSync('mkfifo', [pipe])
    try {
      await checkAlertLog(pipe)
      const log = createAlertLog(pipe, { write: () => assert.fail() })
      const told = await tellWithin(log, { id: 'one', body: '{}' })
      assert.ok(!told.ok && /ENXIO/.test(told.failure))
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it('stops the start with the name of the setting', async () => {
    await assert.rejects(
      checkAlertLog(join(tmpdir(), 'no-such-folder', 'alerts.jsonl')),
      /ALERT_LOG_FILE: cannot write/,
    )
    await checkAlertLog('-')
  })
})
