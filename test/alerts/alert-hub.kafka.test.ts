import assert from 'node:assert/strict'
import { type HubProcess, startHub } from '../support/hub-process.js'
import { createScene, type Scene } from '../support/hub-scene.js'
import { type KafkaServer, startKafka } from '../support/kafka.js'
import { waitUntil } from '../support/wait.js'
import { startWebhookEndpoint, type WebhookEndpoint } from './webhook-endpoint.js'

describe('alerts of a running hub with Kafka', function () {
  this.timeout(180_000)
  let kafka: KafkaServer
  let endpoint: WebhookEndpoint
  let hub: HubProcess
  let scene: Scene

  before(async () => {
    ;[kafka, endpoint] = await Promise.all([startKafka(), startWebhookEndpoint()])
    hub = await startHub({
      env: {
        KAFKA_BROKERS: kafka.brokers.join(','),
        FIREBREAK_ALLOWED_NETWORKS: '127.0.0.0/8',
        ALERT_WEBHOOK_URL: endpoint.url,
        ALERT_WEBHOOK_SECRET: `whsec_${Buffer.alloc(32, 7).toString('base64')}`,
        ALERT_BROKER_FALLBACK_MS: '1000',
      },
    })
    scene = await createScene([hub])
    await scene.addPush('push')
  })
  after(async () => {
    await scene?.close()
    await hub?.remove()
    await endpoint?.shut()
    await kafka?.remove()
  })

  it('say that events go around the broker, once, and that they do no more', async () => {
    await scene.push({ txn: 'before' })
    await scene.settled()
    await kafka.kill()
    await scene.push({ txn: 'around' })
    const opened = await waitUntil('it is told', () => endpoint.posts[0], { deadlineMs: 60_000 })
    const { data } = JSON.parse(opened.body)
    assert.deepEqual(
      [data.kind, data.object, data.severity, data.detail.processes],
      ['broker_fallback', 'log:kafka', 'warning', 1],
    )
    assert.ok(data.detail.for_s >= 1)
    await scene.settled()
    await kafka.start()
    await waitUntil('its end is told', () => endpoint.posts.length > 1, { deadlineMs: 90_000 })
    assert.deepEqual(
      endpoint.posts.map(({ type, object }) => `${type} ${object}`),
      ['alert.opened log:kafka', 'alert.resolved log:kafka'],
    )
  })
})
