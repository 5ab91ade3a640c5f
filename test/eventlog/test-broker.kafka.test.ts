import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Kafka, logLevel } from 'kafkajs'
import { type KafkaServer, startKafka } from '../support/kafka.js'
import { processesWith } from '../support/process-list.js'
import { waitUntil } from '../support/wait.js'

describe('the test broker', () => {
  let broker: KafkaServer
  before(async () => {
    broker = await startKafka({ users: { hub: 'secret' } })
  })
  after(() => broker.remove())

  it('answers on its plain and on its secure listener, and comes back empty after a wipe', async () => {
    const plain = new Kafka({ brokers: broker.brokers, logLevel: logLevel.NOTHING }).admin()
    await plain.connect()
    await plain.createTopics({ topics: [{ topic: 'a', numPartitions: 1 }], waitForLeaders: true })
    const secure = new Kafka({
      brokers: broker.secure.brokers,
      logLevel: logLevel.NOTHING,
      ssl: { ca: [broker.secure.ca] },
      sasl: { mechanism: 'plain', username: 'hub', password: 'secret' },
    }).admin()
    await secure.connect()
    // Without an ACL the topic is not shown.
    assert.deepEqual(await secure.listTopics(), [])
    assert.deepEqual(await plain.listTopics(), ['a'])
    await secure.disconnect()
    await plain.disconnect()
    await broker.wipeAndRestart()
    const again = new Kafka({ brokers: broker.brokers, logLevel: logLevel.NOTHING }).admin()
    await again.connect()
    assert.deepEqual(await again.listTopics(), [])
    await again.disconnect()
  })

  it('ends with the test process and leaves no folder, even when that is killed', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'firebreak-watchdog-'))
    const kafka = new URL('../support/kafka.js', import.meta.url).href
    const script = `import(${JSON.stringify(kafka)}).then(({ startKafka }) => startKafka()).then(() => setInterval(() => {}, 1e6))`
    const child = spawn(process.execPath, ['-e', script], { env: { ...process.env, TMPDIR: folder } })
    try {
      await waitUntil('the broker runs', () => processesWith(`${folder}/`).some(isBroker), {
        deadlineMs: 60_000,
      })
      child.kill('SIGKILL')
      await waitUntil('the broker has ended', () => !processesWith(`${folder}/`).some(isBroker))
      await waitUntil('its folder is gone', () => readdirSync(folder).length === 0)
    } finally {
      child.kill('SIGKILL')
      for (const { pid } of processesWith(`${folder}/`)) process.kill(pid, 'SIGKILL')
      rmSync(folder, { recursive: true, force: true })
    }
  })
})

const isBroker = ({ command }: { command: string }): boolean => command.includes('kafka.Kafka')
