import assert from 'node:assert/strict'
import { Kafka, logLevel } from 'kafkajs'
import { sqlRows } from '../../src/storage/database.js'
import { runCommand } from '../support/cli-run.js'
import { createHubProcess, type HubProcess } from '../support/hub-process.js'
import { createScene, readMetric, type Scene } from '../support/hub-scene.js'
import { type KafkaServer, startKafka } from '../support/kafka.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'
import { createEmptyDatabase } from './archive-rig.js'

const EVENTS = 20

describe('a hub whose database is restored, and whose Kafka log survived', function () {
  this.timeout(240_000)
  let kafka: KafkaServer
  let lost: TestDatabase
  let target: TestDatabase
  let hub: HubProcess
  let restored: HubProcess | undefined
  let scene: Scene
  let env: Record<string, string>
  let file: string

  before(async () => {
    kafka = await startKafka()
    lost = await createTestDatabase()
    target = await createEmptyDatabase()
    env = { KAFKA_BROKERS: kafka.brokers.join(',') }
    hub = await createHubProcess({ env: { ...env, DATABASE_URL: lost.url } })
    file = `${hub.folder}/a.backup`
    hub.start()
    await hub.ready()
    scene = await createScene([hub])
    await scene.addPush('push')
  })
  after(async () => {
    await scene?.close()
    await restored?.remove()
    await hub?.remove()
    await lost?.close()
    await target?.close()
    await kafka?.remove()
  })

  const firebreak = (database: TestDatabase, ...words: string[]) =>
    runCommand(words, { env: { ...env, DATABASE_URL: database.url, DATA_DIR: `${hub.folder}/none` } }).ended
  const pushAll = async (name: string) => {
    for (let n = 0; n < EVENTS; n += 1) await scene.push({ txn: `${name} ${n}`, user: `user ${n}` })
    await scene.settled()
  }
  const times = (name: string) => {
    const txns = scene.ledger.receipts('push').map(({ txn }) => txn)
    return Array.from({ length: EVENTS }, (_, n) => txns.filter((txn) => txn === `${name} ${n}`).length)
  }
  const all = (count: number) => Array.from({ length: EVENTS }, () => count)

  async function rewind(...words: string[]) {
    const [code, body] = await waitUntil('nobody is in the group any more', async () => {
      const { code, out, err } = await firebreak(target, 'log', 'rewind', ...words, '--json')
      if (/stop every hub/.test(err)) return undefined
      assert.equal(err, '')
      return [code, JSON.parse(out.toString() || '{}')] as const
    })
    assert.equal(code, 0)
    return body as { target: object; lanes: { lane: string; records: number; skipped: number }[] }
  }

  it('gets back from there what came after the backup, under the jti that it had', async () => {
    await pushAll('before')
    const made = await firebreak(lost, 'backup', '--out', file, '--json')
    assert.equal(made.code, 0, made.err)
    assert.deepEqual((JSON.parse(made.out.toString()) as { warnings: string[] }).warnings, [])
    await pushAll('after')
    const tooSoon = await firebreak(lost, 'log', 'rewind', '--to', '1h')
    assert.equal(tooSoon.code, 1)
    assert.match(tooSoon.err, /stop every hub/)
    hub.signal('SIGKILL')
    await hub.ended()

    const back = await firebreak(target, 'restore', '--from', file)
    assert.equal(back.code, 0, back.err)
    assert.match(back.out.toString(), /firebreak log rewind --from-backup, before the first hub starts/)
    const { lanes } = await rewind('--from-backup')
    assert.equal(lanes.find(({ lane }) => lane === 'urgent')?.records, EVENTS)
    restored = await createHubProcess({ port: hub.port, env: { ...env, DATABASE_URL: target.url } })
    restored.start()
    await restored.ready()
    await waitUntil('the events come again', () => times('after').every((count) => count === 2))
    await scene.push({ txn: 'new' })
    await scene.settled()
    assert.deepEqual(times('before'), all(1))
    // settled() has checked that both times they had one jti.
    assert.equal(scene.ledger.duplicates('push'), EVENTS)
  })

  it('drops what it knows when the log goes further back than needed', async () => {
    restored?.signal('SIGTERM')
    assert.equal((await restored?.ended())?.code, 0)
    const { lanes } = await rewind('--to', '1h')
    assert.ok((lanes.find(({ lane }) => lane === 'urgent')?.records ?? 0) > 2 * EVENTS)
    restored?.start()
    await restored?.ready()
    await waitUntil('all is read', async () => {
      const lag = await readMetric(restored as HubProcess, 'firebreak_log_lag_records')
      return lag === 0
    })
    await scene.push({ txn: 'last' })
    await scene.settled()
    assert.deepEqual(times('before'), all(1))
    assert.deepEqual(times('after'), all(2))
    const audit = await sqlRows<{ action: string }>(
      target.db,
      "select action from audit_log where action in ('backup.restored', 'log.rewound') order by at",
    )
    assert.deepEqual(
      audit.map(({ action }) => action),
      ['backup.restored', 'log.rewound', 'log.rewound'],
    )
  })

  it('says how many records from after the backup the topic has no more', async () => {
    restored?.signal('SIGTERM')
    await restored?.ended()
    const admin = new Kafka({ brokers: [...kafka.brokers], logLevel: logLevel.NOTHING }).admin()
    await admin.connect()
    const [topic = ''] = (await admin.listTopics()).filter((name) => name.endsWith('urgent'))
    const ends = await admin.fetchTopicOffsets(topic)
    await admin.deleteTopicRecords({
      topic,
      partitions: ends
        .filter(({ low, high }) => low !== high)
        .map(({ partition, high }) => ({ partition, offset: high })),
    })
    await admin.disconnect()
    const { lanes } = await rewind('--from-backup')
    const urgent = lanes.find(({ lane }) => lane === 'urgent')
    assert.equal(urgent?.records, 0)
    assert.ok((urgent?.skipped ?? 0) >= EVENTS, JSON.stringify(urgent))
  })

  it('goes neither forward nor further back than repeats are known', async () => {
    for (const [to, text] of [
      ['2999-01-01T00:00:00Z', /goes back only/],
      ['15d', /would not be believed \(DEDUPE_WINDOW_DAYS\)/],
    ] as const) {
      const { code, err } = await firebreak(target, 'log', 'rewind', '--to', to)
      assert.equal(code, 1)
      assert.match(err, text)
    }
    const { code, err } = await firebreak(lost, 'log', 'rewind', '--from-backup')
    assert.equal(code, 1)
    assert.match(err, /was not restored by firebreak restore/)
  })
})
