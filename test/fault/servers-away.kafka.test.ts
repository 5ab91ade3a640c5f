import assert from 'node:assert/strict'
import { type HubProcess, startHub } from '../support/hub-process.js'
import { createScene, readMetric, type Scene } from '../support/hub-scene.js'
import { type KafkaServer, startKafka } from '../support/kafka.js'
import { type PostgresServer, startPostgresServer } from '../support/postgres-server.js'
import { pushLoad } from '../support/set-producer.js'
import { waitUntil } from '../support/wait.js'

describe('fault: a hub whose Kafka or Postgres goes away', function () {
  this.timeout(100_000)
  let kafka: KafkaServer
  let postgres: PostgresServer
  let hub: HubProcess
  let scene: Scene
  let pid: number

  before(async () => {
    ;[kafka, postgres] = await Promise.all([startKafka(), startPostgresServer()])
    hub = await startHub({ env: { DATABASE_URL: postgres.url, KAFKA_BROKERS: kafka.brokers.join(',') } })
    pid = hub.pid()
    scene = await createScene([hub])
    await scene.addPush('push')
    await scene.addPoll('poll')
  })

  after(async () => {
    await scene?.close()
    await hub?.remove()
    await Promise.all([kafka?.remove(), postgres?.remove()])
  })

  const load = (count: number, onAccepted?: (count: number) => void) =>
    pushLoad({
      upstream: scene.upstream,
      ledger: scene.ledger,
      urls: scene.ingestUrls,
      count,
      ...(onAccepted && { onAccepted }),
    })

  const failover = () => readMetric(hub, 'firebreak_log_failover_active')

  const hasArrived = (stream: string, txn: string) =>
    scene.ledger.receipts(stream).some((receipt) => receipt.txn === txn)

  async function broughtBack(): Promise<void> {
    await waitUntil('appends are back in Kafka', async () => (await failover()) === 0, { deadlineMs: 60_000 })
    await load(100)
    await scene.settled()
    await hub.ready()
    assert.equal(hub.pid(), pid)
  }

  for (const [how, end] of [
    ['is stopped', () => kafka.stop()],
    ['is killed with SIGKILL', () => kafka.kill()],
  ] as const) {
    it(`answers 202 and delivers while the broker ${how}, and returns to it by itself`, async () => {
      let ending: Promise<void> | undefined
      const { refused } = await load(600, (count) => {
        if (count === 200) ending = end()
      })
      assert.deepEqual([...refused], [])
      await ending
      // What only the broker holds waits for it; what came since does not.
      await waitUntil('appends go around Kafka', async () => (await failover()) === 1)
      const txn = `while the broker ${how}`
      await scene.push({ txn })
      await waitUntil('it is delivered', () => scene.ledger.streams().every((name) => hasArrived(name, txn)))
      await kafka.start()
      await broughtBack()
    })
  }

  it('goes on answering 202 while Postgres is away, and catches up', async () => {
    let stopping: Promise<void> | undefined
    const first = await load(400, (count) => {
      if (count === 200) stopping = postgres.stop()
    })
    await stopping
    const second = await load(200)
    assert.deepEqual([...first.refused, ...second.refused], [])
    await postgres.start()
    await scene.settled()
    await broughtBack()
  })

  it('answers 503, and never a 202 that is lost, while both are away', async () => {
    await Promise.all([postgres.kill(), kafka.kill()])
    const loading = load(200)
    await waitUntil('the hub refuses', () => hub.output().includes('set.deferred'))
    await Promise.all([postgres.start(), kafka.start()])
    const { refused } = await loading
    assert.deepEqual([...refused.keys()], [503])
    await scene.settled()
    await broughtBack()
  })
})
