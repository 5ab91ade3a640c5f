import assert from 'node:assert/strict'
import request from 'supertest'
import { apiDocsRouter } from '../../src/http/api-docs-router.js'
import { createApp } from '../../src/http/app.js'
import { describeHub } from '../../src/hub-description.js'
import { silentLogger } from '../../src/kernel/logger.js'

describe('http: the API description', () => {
  const document = describeHub('https://hub.example')
  const app = createApp({
    logger: silentLogger,
    mount: (root) => void root.use(apiDocsRouter(document)),
  })

  it('is served without a token, and may be kept for a while', async () => {
    const res = await request(app).get('/v1/openapi.json')
    assert.equal(res.status, 200)
    assert.match(res.headers['content-type'] ?? '', /^application\/json/)
    assert.equal(res.headers['cache-control'], 'public, max-age=300')
    assert.deepEqual(res.body, JSON.parse(JSON.stringify(document)))
  })

  it('is shown by a page that loads nothing from elsewhere and may not', async () => {
    const res = await request(app).get('/docs')
    assert.equal(res.status, 200)
    const policy = res.headers['content-security-policy'] ?? ''
    assert.match(policy, /default-src 'none'; script-src 'self'; style-src 'self'; /)
    assert.doesNotMatch(policy, /unsafe|https?:|\*/)
    const loaded = [...res.text.matchAll(/(?:src|href)="([^"]*)"/g)].map((match) => match[1] as string)
    assert.equal(loaded.length, 4)
    for (const url of loaded.filter((link) => link !== 'data:,')) {
      assert.match(url, /^\/docs\//)
      const file = await request(app).get(url)
      assert.equal(file.status, 200, `${url}: run npm run build, which puts the viewer in place`)
      assert.match(file.headers['content-type'] ?? '', /^text\/(javascript|css)/)
    }
    assert.doesNotMatch((await request(app).get('/docs/start.js')).text, /https?:/)
  })

  it('serves no other file', async () => {
    for (const file of [
      'LICENSE',
      '..%2Fopenapi.js',
      '%2Fetc%2Fpasswd',
      '.',
      'swagger-ui-bundle.js.map',
      '%00',
    ]) {
      const res = await request(app).get(`/docs/${file}`)
      assert.ok([400, 404].includes(res.status) || file === '.', `${file} ${res.status}`)
    }
  })
})
