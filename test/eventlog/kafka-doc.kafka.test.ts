import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Kafka, logLevel } from 'kafkajs'
import { createRecordCodec } from '../../src/eventlog/record-codec.js'
import { newTopicPrefix, openKafkaLog } from '../conformance/event-log-rigs.js'
import { sharedKafka } from '../support/kafka.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'
import {
  clock,
  createTestKeyStore,
  createTestSlots,
  foreignKeyPair,
  ISSUER,
  makeEvent,
} from './log-fixtures.js'

const TOKEN = 'test-token'

describe('docs/kafka.md', () => {
  const keys = createTestKeyStore().open()
  let database: TestDatabase
  let server: Server
  let folder: string
  let example: ChildProcess | undefined

  before(async () => {
    database = await createTestDatabase()
    // Stands for the hub's /v1/log-keys, which belongs to another room.
    server = createServer((req, res) => {
      const allowed = req.url === '/v1/log-keys' && req.headers.authorization === `Bearer ${TOKEN}`
      const publicKeys = [...keys.logPublicKeys()].map(([kid, key]) => ({
        ...key.export({ format: 'jwk' }),
        kid,
        alg: 'ES256',
      }))
      res
        .writeHead(allowed ? 200 : 401, { 'content-type': 'application/json' })
        .end(JSON.stringify({ keys: publicKeys }))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    // Inside the repository, so that the example finds its packages as a reader's own program would.
    folder = await mkdtemp(join(process.cwd(), 'dist', 'example-'))
  })
  after(async () => {
    example?.kill('SIGKILL')
    await new Promise((resolve) => server.close(resolve))
    await rm(folder, { recursive: true })
    await database.close()
  })

  it('has an example that prints what the hub signed, once, and nothing else', async () => {
    const { brokers } = await sharedKafka()
    const topicPrefix = newTopicPrefix()
    const log = openKafkaLog({ keys, slots: createTestSlots(), db: database.db, brokers, topicPrefix })
    await log.start()
    const event = makeEvent()
    await log.append([event])
    await log.append([event])
    const { kid } = keys.logSigningKey()
    const stranger = { ...keys, logSigningKey: () => ({ kid, privateKey: foreignKeyPair() }) }
    const codecOf = (own: typeof keys) =>
      createRecordCodec({ keys: own, issuer: ISSUER, clock, maxAgeMs: 1e12 })
    await putRaw(brokers, `${topicPrefix}.urgent`, codecOf(stranger).encode(makeEvent()).record)
    await putRaw(
      brokers,
      `${topicPrefix}.urgent`,
      codecOf(keys).encode(makeEvent({ lane: 'routine' })).record,
    )
    await log.close()

    const [, code] = /```js\n([\s\S]*?)```/.exec(await readFile('docs/kafka.md', 'utf8')) ?? []
    assert.ok(code)
    await writeFile(join(folder, 'example.mjs'), code)
    const { port } = server.address() as AddressInfo
    const hub = { FIREBREAK_URL: `http://127.0.0.1:${port}`, FIREBREAK_TOKEN: TOKEN, ISSUER }
    const env = { ...process.env, ...hub, KAFKA_BROKERS: brokers.join(), TOPIC: `${topicPrefix}.urgent` }
    const child = spawn(process.execPath, [join(folder, 'example.mjs')], {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    example = child
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
    })
    const refused = () => output.split('\n').filter((line) => line.startsWith('not believed'))
    await waitUntil('the example to read all', () => refused().length >= 2, { deadlineMs: 30_000 })
    const lines = output.split('\n').filter((line) => line.startsWith('event '))
    assert.deepEqual(lines, [`event ${event.eventId} ${event.type}`])
    assert.match(refused()[0] ?? '', /signature/)
    assert.match(refused()[1] ?? '', /another lane/)
  })
})

async function putRaw(brokers: string[], topic: string, record: string): Promise<void> {
  const producer = new Kafka({ brokers, logLevel: logLevel.NOTHING }).producer()
  await producer.connect()
  await producer.send({ topic, messages: [{ key: '7', value: record, partition: 3 }] })
  await producer.disconnect()
}
