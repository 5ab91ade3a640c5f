import assert from 'node:assert/strict'
import request from 'supertest'
import { createManagementApp, type Readiness } from '../../src/http/management.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createMetrics } from '../../src/kernel/metrics.js'

describe('http: management', () => {
  let state: Readiness = { ok: true, reasons: [] }
  const metrics = createMetrics()
  metrics.counter('firebreak_things_total', 'Things.').add()
  const app = createManagementApp({ readiness: async () => state, metrics, logger: silentLogger })

  it('is ready with 200, even with something to warn of', async () => {
    state = { ok: true, reasons: ['Kafka replication is 1.'] }
    const res = await request(app).get('/health/ready')
    assert.equal(res.status, 200)
    assert.deepEqual(res.body, { status: 'ready', reasons: ['Kafka replication is 1.'] })
  })

  it('is not ready with 503 and the reasons, and alive all the same', async () => {
    state = { ok: false, reasons: ['The database is read-only.'] }
    const res = await request(app).get('/health/ready')
    assert.equal(res.status, 503)
    assert.deepEqual(res.body, { status: 'not_ready', reasons: ['The database is read-only.'] })
    assert.equal((await request(app).get('/health/live')).status, 200)
  })

  it('fails liveness only when told so', async () => {
    const failing = createManagementApp({
      readiness: async () => state,
      liveness: () => ({ ok: false, reasons: ['A consumer is stuck.'] }),
      metrics,
      logger: silentLogger,
    })
    assert.equal((await request(failing).get('/health/live')).status, 503)
  })

  it('serves metrics as Prometheus reads them', async () => {
    const res = await request(app).get('/metrics')
    assert.match(res.headers['content-type'] ?? '', /^text\/plain; version=0\.0\.4/)
    assert.match(res.text, /^firebreak_things_total 1$/m)
  })
})
