import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { loadConfig } from '../../src/config/config.js'
import { type Hub, startHub } from '../../src/hub.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { addPushStream, addReceiver, type HubApi, hubApi } from '../support/hub-api.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { startSink } from '../support/set-sink.js'
import { readText } from '../support/source-files.js'
import { SESSION_REVOKED } from '../support/upstream.js'
import { waitUntil } from '../support/wait.js'
import { startWebhookEndpoint, type WebhookEndpoint } from './webhook-endpoint.js'

const ADMIN_TOKEN = 'fbk_op_alert-hub-only-0123456789abcdef'
const SECRET = `whsec_${randomBytes(32).toString('base64')}`

interface Checker {
  check(headers: Record<string, string>, body: string, secret: string): { type: string }
}

/** The example of docs/operating.md, as a module. */
async function documentedChecker(folder: string): Promise<Checker> {
  const [, example = ''] = /```js\n([\s\S]*?)```/.exec(readText('docs/operating.md')) ?? []
  const file = join(folder, 'check.mjs')
  writeFileSync(file, example)
  return (await import(pathToFileURL(file).href)) as Checker
}

describe('alerts of a running hub', function () {
  this.timeout(120_000)
  let test: TestDatabase
  let endpoint: WebhookEndpoint
  let admin: HubApi
  const hubs: Hub[] = []
  const folder = mkdtempSync(join(tmpdir(), 'firebreak-alert-hub-'))
  const file = join(folder, 'alerts.jsonl')

  async function start(env: Readonly<Record<string, string>> = {}): Promise<Hub> {
    const hub = await startHub({
      config: loadConfig({
        PORT: '0',
        MANAGEMENT_PORT: '0',
        DATABASE_URL: test.url,
        FIREBREAK_ADMIN_TOKEN: ADMIN_TOKEN,
        FIREBREAK_ALLOWED_NETWORKS: '127.0.0.0/8',
        ALERT_WEBHOOK_URL: endpoint.url,
        ALERT_WEBHOOK_SECRET: SECRET,
        ALERT_LOG_FILE: file,
        ALERT_STREAM_FAILING_MS: '2000',
        ...env,
      }),
      logger: silentLogger,
      onProgress: () => {},
      onAdminToken: () => {},
      onFatal: (error) => assert.fail(error),
    })
    hubs.push(hub)
    return hub
  }

  before(async () => {
    test = await createTestDatabase()
    endpoint = await startWebhookEndpoint()
    const hub = await start()
    await start()
    admin = hubApi(() => hub.url ?? '', ADMIN_TOKEN)
  })
  after(async () => {
    for (const hub of hubs) await hub.stop()
    await endpoint?.shut()
    await test?.close()
    rmSync(folder, { recursive: true })
  })

  const list = async (state: string) =>
    (await admin.call<{ items: { kind: string; object: string }[] }>('GET', `/v1/alerts?state=${state}`))
      .items

  it('are told once by two processes, can be read, and verify by the documented example', async () => {
    const { check } = await documentedChecker(folder)
    const id = randomUUID()
    await test.db('parked').insert({ id, kind: 'record', code: 'signature', reason: 'not ours' })
    const opened = await waitUntil('it is told', () => endpoint.posts[0], { deadlineMs: 60_000 })
    assert.deepEqual([opened.type, opened.object], ['alert.opened', 'parked:records'])
    assert.equal((await list('open'))[0]?.object, 'parked:records')
    await test.db('parked').where({ id }).update({ resolved_at: new Date() })
    await waitUntil('its end is told', () => endpoint.posts[1], { deadlineMs: 60_000 })
    await waitUntil('both lines are there', () => readFileSync(file, 'utf8').split('\n').length === 3)
    assert.deepEqual(await list('open'), [])
    assert.equal((await list('resolved')).length, 1)
    assert.deepEqual(
      endpoint.posts.map(({ type }) => type),
      ['alert.opened', 'alert.resolved'],
    )
    const headers = {
      'webhook-id': opened.id,
      'webhook-timestamp': opened.timestamp,
      'webhook-signature': `v1,AAAA ${opened.signature}`,
    }
    assert.equal(check(headers, opened.body, SECRET).type, 'alert.opened')
    const refused = (changed: object, body = opened.body, secret = SECRET) =>
      assert.throws(() => check({ ...headers, ...changed }, body, secret), /not from the hub|too old/)
    refused({}, opened.body.replace('records', 'events'))
    refused({ 'webhook-id': 'msg_other' })
    refused({ 'webhook-timestamp': String(Number(opened.timestamp) - 600) })
    refused({ 'webhook-signature': 'v1,AAAA' })
    refused({}, opened.body, `whsec_${randomBytes(32).toString('base64')}`)
  })

  it('say that a receiver takes nothing, by what its failing endpoint leaves in the queue, and when it does again', async () => {
    const sink = await startSink(() => {})
    try {
      const receiver = await addReceiver(admin, 'gateway-7')
      const url = hubs[0]?.url ?? ''
      const streamId = await addPushStream(
        hubApi(() => url, receiver.token),
        sink.url,
      )
      await sink.shut()
      await admin.call('POST', '/v1/events', {
        type: SESSION_REVOKED,
        sub_id: { format: 'opaque', id: 's1' },
        event: {},
      })
      const about = (type: string) =>
        endpoint.posts.find((post) => post.type === type && post.object === `stream:${streamId}`)
      const opened = await waitUntil('it is told', () => about('alert.opened'), { deadlineMs: 60_000 })
      const { data } = JSON.parse(opened.body)
      assert.deepEqual(
        [data.kind, data.severity, data.detail.receiver, data.detail.why],
        ['stream_failing', 'critical', 'gateway-7', 'not_taken'],
      )
      assert.match(data.detail.failure, /ECONNREFUSED/)
      await sink.open()
      await waitUntil('it is over', () => about('alert.resolved'), { deadlineMs: 60_000 })
    } finally {
      await sink.close()
    }
  })

  it('are tested by an operator, and counted', async () => {
    const result = await admin.call<{ notice_id: string; webhook: object }>('POST', '/v1/alerts/test')
    assert.deepEqual(result.webhook, { delivered: true, status: 204, failure: null })
    assert.equal(endpoint.posts.at(-1)?.id, result.notice_id)
    assert.match(readFileSync(file, 'utf8'), new RegExp(`${result.notice_id}.*alert\\.test`))
    const texts = await Promise.all(
      hubs.map(async ({ managementUrl }) => (await fetch(`${managementUrl}/metrics`)).text()),
    )
    assert.match(texts[0] ?? '', /^firebreak_alerts_open\{kind="sets_parked"\} 0$/m)
    const told = texts.flatMap((text) => [
      ...text.matchAll(/^firebreak_alert_notices_total\{channel="webhook",outcome="delivered"\} (\d+)$/gm),
    ])
    assert.equal(
      told.reduce((sum, [, count]) => sum + Number(count), 0),
      4,
    )
  })

  it('need their file in processes that write to it, and in no others', async () => {
    const lost = {
      ISSUER: 'https://hub.example',
      ALERT_LOG_FILE: join(folder, 'no-such-folder', 'alerts.jsonl'),
    }
    for (const ROLES of ['upkeep', 'api']) {
      await assert.rejects(start({ ...lost, ROLES }), /ALERT_LOG_FILE: cannot write/, ROLES)
    }
    await start({ ...lost, ROLES: 'ingest,fanout' })
  })
})
