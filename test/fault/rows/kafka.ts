import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { Kafka, logLevel, type Message } from 'kafkajs'
import { pickFreePort } from '../../../src/storage/postgres-server.js'
import { readTopic } from '../../eventlog/kafka-topic-reader.js'
import { readMetric } from '../../support/hub-scene.js'
import type { KafkaServer } from '../../support/kafka.js'
import type { TcpProxy } from '../../support/tcp-proxy.js'
import { waitUntil } from '../../support/wait.js'
import type { FaultHub, FaultRig, FaultScene } from '../rig.js'
import type { Row } from '../row.js'
import type { RunningLoad } from '../running-load.js'

const PREFIX = 'fault'

interface Ready {
  readonly broker: KafkaServer
  readonly hub: FaultHub
  readonly scene: FaultScene
  readonly load: RunningLoad
}

const kafkaEnv = (brokers: readonly string[], env: Record<string, string> = {}) => ({
  KAFKA_BROKERS: brokers.join(','),
  KAFKA_TOPIC_PREFIX: PREFIX,
  ...env,
})

/** A broker that may be harmed, and a hub on it under load. */
async function underLoad(rig: FaultRig): Promise<Ready> {
  const broker = await rig.kafka()
  const hub = await rig.hub({ env: kafkaEnv(broker.brokers) })
  const scene = await rig.scene([hub])
  const load = rig.load(scene)
  await load.goesOn(36, 'at first')
  return { broker, hub, scene, load }
}

/** A hub under load on the broker that no row harms. */
async function besideOthers(
  rig: FaultRig,
): Promise<Omit<Ready, 'broker'> & { brokers: string[]; prefix: string }> {
  const env = await rig.kafkaEnv()
  const hub = await rig.hub({ env })
  const scene = await rig.scene([hub])
  const load = rig.load(scene)
  await load.goesOn(36, 'at first')
  const { KAFKA_BROKERS = '', KAFKA_TOPIC_PREFIX: prefix = '' } = env
  return { hub, scene, load, brokers: KAFKA_BROKERS.split(','), prefix }
}

/** A broker behind a proxy that everything of the hub goes through. */
async function behindProxy(rig: FaultRig): Promise<{ broker: KafkaServer; proxy: TcpProxy }> {
  const port = await pickFreePort()
  let broker: KafkaServer | undefined
  const proxy = await rig.proxy(() => (broker as KafkaServer).proxyTargetPort, port)
  broker = await rig.kafka({ advertisedProxyPort: port })
  return { broker, proxy }
}

const failover = (hub: FaultHub) => readMetric(hub, 'firebreak_log_failover_active')

async function goesAround(hub: FaultHub): Promise<void> {
  await waitUntil('appends go around Kafka', async () => (await failover(hub)) === 1)
}

async function returnsToKafka({ hub, load }: Pick<Ready, 'hub' | 'load'>): Promise<void> {
  await waitUntil('appends are back in Kafka', async () => (await failover(hub)) === 0, {
    deadlineMs: 60_000,
  })
  await load.goesOn(12, 'back in Kafka')
  await hub.ready()
}

/** What is sent now arrives now, whatever the broker does. */
async function arrives({ ledger, push }: FaultScene, txn: string): Promise<void> {
  await push({ txn })
  const has = (name: string) => ledger.receipts(name).some((receipt) => receipt.txn === txn)
  await waitUntil(`${txn} arrives`, () => ledger.streams().every(has), { deadlineMs: 15_000 })
}

const away: Row = {
  id: 'K1',
  title: 'broker SIGTERM for 30 s, SIGKILL for 2 min, down for 10 min, under load',
  expected: '202 goes on, urgent events arrive, back to Kafka by itself',
  waits: true,
  async run(rig) {
    const here = await underLoad(rig)
    const { broker, hub, scene, load } = here
    for (const [name, end, fullMs] of [
      ['stopped', () => broker.stop(), 30_000],
      ['killed', () => broker.kill(), 120_000],
      ['long away', () => broker.stop(), 600_000],
    ] as const) {
      await rig.during(async () => {
        await end()
        await goesAround(hub)
        await arrives(scene, `while the broker is ${name}`)
        await delay(rig.scaled(fullMs, 2_000))
        await broker.start()
      })
      await returnsToKafka(here)
    }
    const { refused } = await load.stop()
    assert.deepEqual([...refused], [])
    return 'every push was answered 202; three times around Kafka and back'
  },
}

const hanging: Row = {
  id: 'K2',
  title: 'broker SIGSTOP for 60 s under load',
  expected: 'deadlines fire, memory bounded, no storm of repeats',
  async run(rig) {
    const here = await underLoad(rig)
    rig.atEnd(() => here.broker.resume())
    await rig.during(async () => {
      await here.broker.pause()
      await goesAround(here.hub)
      await arrives(here.scene, 'while the broker hangs')
      await delay(rig.scaled(60_000, 3_000))
      here.broker.resume()
    })
    await returnsToKafka(here)
    const { refused } = await here.load.stop()
    assert.deepEqual([...refused], [])
    return 'every push was answered 202'
  },
}

const emptied: Row = {
  id: 'K3',
  title: 'the broker comes back with an empty disk',
  expected: 'topics made again, fan-out goes on; what was only there is lost and counted, nothing else',
  async run(rig) {
    const here = await underLoad(rig)
    const { ledger } = here.scene
    await rig.during(async () => {
      await here.broker.kill()
      await goesAround(here.hub)
      // From now on Postgres has all that is answered 202, until Kafka is back: nothing of it may be lost.
      ledger.excuse()
      await here.broker.wipeAndRestart()
    })
    await returnsToKafka(here)
    await here.load.stop()
    await arrives(here.scene, 'after the loss')
    await waitUntil('all others arrive', ledger.complete)
    const lost = Math.max(...ledger.streams().map((name) => ledger.missing(name).length))
    return `${lost} of ${ledger.acceptedCount()} SETs were only on that disk, and are lost`
  },
}

/** Answers are kept back again and again while SETs go in. */
function answers(row: Pick<Row, 'id' | 'title' | 'expected'>, cut: boolean): Row {
  return {
    ...row,
    async run(rig) {
      const { broker, proxy } = await behindProxy(rig)
      const hub = await rig.hub({ env: kafkaEnv([`127.0.0.1:${proxy.port}`], { KAFKA_TIMEOUT_MS: '400' }) })
      const scene = await rig.scene([hub])
      const load = rig.load(scene)
      await load.goesOn(36, 'at first')
      let rounds = 0
      await rig.during(async () => {
        const end = performance.now() + rig.scaled(60_000, 10_000)
        while (performance.now() < end) {
          proxy.holdAnswers()
          await delay(100 + rig.random() * 900)
          // Else no answer was on its way, and the round shows nothing.
          if (proxy.held() > 0) rounds += 1
          if (cut) proxy.cut()
          else proxy.release()
          await delay(200 + rig.random() * 600)
        }
        proxy.release()
      })
      await returnsToKafka({ hub, load })
      const { refused } = await load.stop()
      assert.deepEqual([...refused], [])
      assert.ok(rounds > 0, 'no answer was ever held back')
      const records = await readTopic(broker.brokers, `${PREFIX}.urgent`)
      return `${rounds} times; ${records.length} records in the urgent topic, repeats among them`
    },
  }
}

/** Of a record, as its payload says. */
function slotOf(payload: string): number {
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as { firebreak: { slot: number } }
  return claims.firebreak.slot
}

const poison: Row = {
  id: 'K5',
  title: 'poison in the topics: unsigned, of another lane, replayed, no JSON, tombstone, 1 MB, a wrong key',
  expected: 'parked with a reason, the partition moves on',
  async run(rig) {
    const { brokers, prefix, scene, load } = await besideOthers(rig)
    const [genuine = ''] = await readTopic(brokers, `${prefix}.urgent`)
    const [header, payload = ''] = genuine.split('.')
    const slot = slotOf(payload)
    const producer = new Kafka({ brokers, logLevel: logLevel.NOTHING }).producer()
    await producer.connect()
    const bad: Message[] = [
      { key: '1', value: 'not a record' },
      { key: '1', value: `${header}.${payload}.` },
      { key: '1', value: '{"json": true}' },
      { key: '1', value: null },
      { key: '1', value: Buffer.alloc(1_000_000, 'a') },
      { key: '1', value: Buffer.from([0xff, 0xfe, 0x00]), headers: { '': Buffer.from([0]) } },
      { key: 'no slot', value: genuine },
      { key: String((slot + 1) % 64), value: genuine },
    ]
    const parkedNow = async () =>
      (
        await scene.admin.call<{ items: { kind: string; reason: string }[] }>('GET', '/v1/parked')
      ).items.filter(({ kind }) => kind === 'record')
    const reasons = await rig.during(async () => {
      await producer.send({ topic: `${prefix}.urgent`, messages: bad })
      await producer.send({ topic: `${prefix}.routine`, messages: [{ key: String(slot), value: genuine }] })
      // Whole, of this lane and slot: a repeat, which is dropped, not parked.
      await producer.send({ topic: `${prefix}.urgent`, messages: [{ key: String(slot), value: genuine }] })
      await producer.disconnect()
      await waitUntil('all are parked', async () => (await parkedNow()).length > bad.length)
      return (await parkedNow()).map(({ reason }) => reason)
    })
    await load.goesOn(24, 'behind the poison')
    const parked = (await parkedNow()).map(({ reason }) => reason)
    assert.equal(parked.length, bad.length + 1, `parked: ${parked.join(' ')}`)
    await load.stop()
    return `${reasons.length} parked: ${[...new Set(reasons)].join(' ')}`
  },
}

const rebalanced: Row = {
  id: 'K6',
  title: 'ten rebalances in a minute under load',
  expected: 'no stall beyond a session timeout; order holds',
  async run(rig) {
    const { brokers, prefix, load } = await besideOthers(rig)
    const rounds = Math.max(4, Math.round(10 * rig.scale))
    await rig.during(async () => {
      for (let n = 0; n < rounds; n += 1) {
        const consumer = new Kafka({ brokers, logLevel: logLevel.NOTHING }).consumer({
          groupId: `${prefix}.fanout.urgent`,
          sessionTimeout: 6_000,
        })
        // It joins and leaves; whatever it takes it commits nothing of.
        const joined = new Promise<void>((resolve) => consumer.on('consumer.group_join', () => resolve()))
        await consumer.connect()
        await consumer.subscribe({ topics: [`${prefix}.urgent`] })
        await consumer.run({ autoCommit: false, eachMessage: async () => {} })
        await joined
        await delay(500 * rig.random())
        await consumer.disconnect()
        await delay(rig.scaled(3_000, 500))
      }
    })
    await load.stop()
    return `${rounds} times a stranger joined the group and left it`
  },
}

const stalled: Row = {
  id: 'K7',
  title: 'a consumer stalls in silence; the same with the watchdog off',
  expected: 'the watchdog makes it again; without it nothing is read, so the row would fail',
  bounds: { recoveryMs: 45_000 },
  async run(rig) {
    const { proxy } = await behindProxy(rig)
    const brokers = [`127.0.0.1:${proxy.port}`]
    const open = async (faults: string, prefix: string) => {
      const env = kafkaEnv(brokers, { FIREBREAK_TEST_FAULTS: faults, KAFKA_TOPIC_PREFIX: prefix })
      const hub = await rig.hub({ env })
      const scene = await rig.scene([hub], { push: 1, poll: 0 })
      await arrives(scene, `before, ${faults}`)
      return { hub, scene }
    }
    const watched = await open('deaf-kafka', 'watched')
    const unwatched = await open('deaf-kafka,no-kafka-watchdog', 'unwatched')
    const restartsOf = (hub: FaultHub) => readMetric(hub, 'firebreak_log_consumer_restarts_total')
    const before = await restartsOf(unwatched.hub)
    return await rig.during(async () => {
      proxy.freezeConnections()
      for (const { scene, hub } of [watched, unwatched]) {
        await scene.push({ txn: `around ${hub.port}` })
        await goesAround(hub)
      }
      for (const { hub } of [watched, unwatched])
        await waitUntil('appends are back in Kafka', async () => (await failover(hub)) === 0, {
          deadlineMs: 30_000,
        })
      // Now only the broker holds it, and only a consumer that lives can find it.
      unwatched.scene.ledger.release('push 1')
      await unwatched.scene.push({ txn: 'behind the stall' })
      const began = performance.now()
      await watched.scene.push({ txn: 'behind the stall' })
      const has = ({ scene }: typeof watched) =>
        scene.ledger.receipts('push 1').some(({ txn }) => txn === 'behind the stall')
      await waitUntil('the watchdog mends it', () => has(watched), { deadlineMs: 30_000 })
      const tookMs = performance.now() - began
      await delay(12_000)
      assert.equal(has(unwatched), false, 'it came without a watchdog, so the row shows nothing')
      assert.equal(await restartsOf(unwatched.hub), before)
      assert.ok((await restartsOf(watched.hub)) > 0)
      return `read ${(tookMs / 1000).toFixed(1)} s later; with the watchdog off not at all in ${((tookMs + 12_000) / 1000).toFixed(0)} s`
    })
  },
}

const refused: Row = {
  id: 'K8',
  title: 'wrong credentials, no right to make the topics, an untrusted certificate',
  expected: 'a clear error at start, exit 1',
  async run(rig) {
    const password = 'loopback-test-only'
    const broker = await rig.kafka({ users: { stranger: password } })
    const sasl = { KAFKA_SASL_MECHANISM: 'plain', KAFKA_SASL_USERNAME: 'stranger', KAFKA_SSL: 'true' }
    const { writeFile, mkdtemp, rm } = await import('node:fs/promises')
    const folder = await mkdtemp('/tmp/firebreak-ca-')
    rig.atEnd(() => rm(folder, { recursive: true }))
    await writeFile(`${folder}/ca.pem`, broker.secure.ca)
    const ca = { KAFKA_SSL_CA_FILE: `${folder}/ca.pem` }
    const told: string[] = []
    for (const [env, pattern] of [
      [{ ...sasl, ...ca, KAFKA_SASL_PASSWORD: 'wrong' }, /KAFKA_SASL_/],
      [{ ...sasl, ...ca, KAFKA_SASL_PASSWORD: password }, /grant Create|not authorized|rights?/i],
      [{ ...sasl, KAFKA_SASL_PASSWORD: password }, /KAFKA_SSL_/],
    ] as const) {
      const hub = await rig.hub({ env: kafkaEnv(broker.secure.brokers, env), start: false })
      hub.start()
      const { code } = await hub.ended(60_000)
      assert.equal(code, 1)
      const line =
        hub
          .stderr()
          .split('\n')
          .find((text) => text.startsWith('firebreak:')) ?? ''
      assert.match(line, pattern)
      told.push(line.slice(0, 80))
    }
    return told.join(' … ')
  },
}

export const KAFKA_ROWS: readonly Row[] = [
  away,
  hanging,
  emptied,
  answers(
    {
      id: 'K4',
      title: 'the connection breaks after each produce, before its answer',
      expected: '202 only for what is stored; one effect',
    },
    true,
  ),
  poison,
  rebalanced,
  stalled,
  refused,
  answers(
    {
      id: 'K9',
      title: 'produce answers held back, again and again',
      expected: 'every acknowledged record counts; duplicates have one effect',
    },
    false,
  ),
]
