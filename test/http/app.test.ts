import assert from 'node:assert/strict'
import type { Express } from 'express'
import request from 'supertest'
import { createApp } from '../../src/http/app.js'
import { jsonBody } from '../../src/http/body.js'
import { isUuid, uuidParam } from '../../src/http/params.js'
import { parseBody } from '../../src/http/validate.js'
import { NotFound } from '../../src/kernel/errors.js'
import { type LogFields, type Logger, silentLogger } from '../../src/kernel/logger.js'
import { SealBroken } from '../../src/keys/aead.js'

const SCHEMA = {
  type: 'object',
  properties: { name: { type: 'string' } },
  required: ['name'],
  additionalProperties: false,
}

describe('http: app shell', () => {
  const lines: { event: string; fields: LogFields }[] = []
  const keep = (event: string, fields: LogFields = {}) => void lines.push({ event, fields })
  const logger: Logger = { ...silentLogger, warn: keep, error: keep }
  let app: Express
  beforeEach(() => {
    lines.length = 0
    app = createApp({
      logger,
      mount(app) {
        app.post('/echo', jsonBody('1kb'), (req, res) => void res.json(parseBody(SCHEMA, req.body)))
        app.get('/missing', () => {
          throw new NotFound('There is no such thing.', { detail: 'row 7 is hidden' })
        })
        app.get('/broken', async () => {
          throw new Error('the password is hunter2')
        })
        app.get('/sealed', async () => {
          throw new SealBroken('A stored secret does not open.')
        })
        app.get('/away', async () => {
          throw Object.assign(new Error('connect'), { code: 'ECONNREFUSED' })
        })
        app.get('/unstorable', async () => {
          throw Object.assign(new Error('timestamp out of range'), { code: '22008' })
        })
        app.get('/late', (_req, res) => {
          res.write('half')
          throw new Error('after the headers')
        })
        app.get('/ids/:id', (req, res) => void res.json(uuidParam(req, 'id', 'thing')))
        app.get('/address', (req, res) => void res.json(req.ip))
      },
    })
  })

  const post = (body: string | Buffer, type = 'application/json') =>
    request(app).post('/echo').set('Content-Type', type).send(body)

  it('names no product, forbids caching and gives each request an id', async () => {
    const [one, two] = [await request(app).get('/missing'), await request(app).get('/missing')]
    assert.equal(one.headers['x-powered-by'], undefined)
    assert.equal(one.headers.etag, undefined)
    assert.equal(one.headers['cache-control'], 'no-store')
    assert.notEqual(one.headers['x-request-id'], two.headers['x-request-id'])
  })

  it('answers a HubError with its code and message, and keeps the detail to itself', async () => {
    const res = await request(app).get('/missing')
    assert.equal(res.status, 404)
    assert.deepEqual(res.body, { code: 'ERR_NOT_FOUND', message: 'There is no such thing.' })
  })

  it('answers 400 when Postgres refuses a value, without its text', async () => {
    const res = await request(app).get('/unstorable')
    assert.equal(res.status, 400)
    assert.equal(res.body.code, 'ERR_INVALID_REQUEST')
    assert.doesNotMatch(res.text, /out of range/)
  })

  it('answers an unknown error with a 500 that says nothing, and logs it with the request id', async () => {
    const res = await request(app).get('/broken?token=secret')
    assert.equal(res.status, 500)
    assert.equal(res.body.code, 'ERR_INTERNAL')
    assert.doesNotMatch(res.text, /hunter2|Error|\.ts|\.js/)
    assert.equal(lines.length, 1)
    assert.match(String(lines[0]?.fields.error), /hunter2/)
    assert.equal(lines[0]?.fields.request_id, res.headers['x-request-id'])
    assert.doesNotMatch(JSON.stringify(lines), /secret/)
  })

  it('answers a fault inside that has a code with the same 500, and logs the code', async () => {
    const res = await request(app).get('/sealed')
    assert.equal(res.status, 500)
    assert.equal(res.body.code, 'ERR_INTERNAL')
    assert.doesNotMatch(res.text, /SEAL|secret|open/)
    assert.equal(lines[0]?.fields.code, 'ERR_SEAL_BROKEN')
  })

  it('answers what is only away with 503 and Retry-After', async () => {
    const res = await request(app).get('/away')
    assert.equal(res.status, 503)
    assert.equal(res.headers['retry-after'], '2')
    assert.equal(res.body.code, 'ERR_UNAVAILABLE')
  })

  it('cuts the connection when an answer fails half-way, so that nobody takes half for whole', async () => {
    await assert.rejects(async () => await request(app).get('/late'))
  })

  it('answers 404 for an unknown path or method and never redirects (T-100)', async () => {
    for (const call of [request(app).get('/nothing'), request(app).put('/echo'), request(app).get('/')]) {
      const res = await call
      assert.equal(res.status, 404)
      assert.equal(res.body.code, 'ERR_NOT_FOUND')
    }
    const slash = await request(app).post('/echo/').type('json').send('{"name":"a"}').redirects(0)
    assert.equal(slash.status, 200)
  })

  it('parses JSON whatever the Content-Type says (T-57)', async () => {
    for (const type of ['', 'text/plain', 'application/x-www-form-urlencoded', 'nonsense']) {
      const res = await post('{"name":"a"}', type)
      assert.equal(res.status, 200, type)
      assert.deepEqual(res.body, { name: 'a' })
    }
  })

  it('answers 400 to bodies that are no JSON, cut off or absent', async () => {
    for (const body of [
      '{"name":',
      '{"name":"a"',
      'name=a',
      '[',
      '{"name":"a"}}',
      '"text"',
      '5',
      'null',
      '',
    ]) {
      const res = await post(body)
      assert.equal(res.status, 400, body)
      assert.equal(res.body.code, 'ERR_INVALID_REQUEST')
    }
    assert.equal((await request(app).post('/echo')).status, 400)
  })

  it('answers 413 to a large body and 400 to a compressed or oddly encoded one', async () => {
    assert.equal((await post(JSON.stringify({ name: 'x'.repeat(2000) }))).status, 413)
    const gzip = await request(app).post('/echo').set('Content-Encoding', 'gzip').send('{"name":"a"}')
    assert.equal(gzip.status, 400)
    assert.equal((await post('{"name":"a"}', 'application/json; charset=utf-16')).status, 400)
    assert.equal((await post('{"name":"a"}', 'application/json; charset=latin9')).status, 400)
  })

  it('refuses what Postgres cannot hold, wherever it stands', async () => {
    for (const body of [
      '{"name":"a\\u0000"}',
      '{"a\\u0000":1}',
      '{"name":"\\ud800"}',
      '{"n":[{"m":"\\udc00"}]}',
    ]) {
      const res = await post(body)
      assert.equal(res.status, 400)
      assert.match(res.body.message, /U\+0000/)
    }
    assert.equal((await post('{"name":"\\ud83d\\ude00"}')).status, 200)
  })

  it('refuses deep nesting without running out of stack', async () => {
    const deep = createApp({
      logger,
      mount: (app) => void app.post('/echo', jsonBody('1mb'), (req, res) => void res.json(req.body)),
    })
    const res = await request(deep)
      .post('/echo')
      .send('['.repeat(200_000) + ']'.repeat(200_000))
    assert.equal(res.status, 400)
    assert.match(res.body.message, /nested deeper/)
  })

  it('takes __proto__ for a member that is not known', async () => {
    const res = await post('{"name":"a","__proto__":{"admin":true}}')
    assert.equal(res.status, 400)
    assert.match(res.body.message, /__proto__ is not known/)
  })

  it('answers a path that cannot be decoded with 400', async () => {
    assert.equal((await request(app).get('/ids/%E0%A4%A')).status, 400)
  })

  it('takes only a UUID for an id, and says 404 else', async () => {
    const id = '11111111-1111-4111-8111-111111111111'
    assert.equal((await request(app).get(`/ids/${id}`)).body, id)
    assert.equal((await request(app).get('/ids/1')).status, 404)
    assert.ok(!isUuid([id]))
  })

  it('believes X-Forwarded-For only from a proxy that is named', async () => {
    const ask = (app: Express) => request(app).get('/address').set('X-Forwarded-For', '203.0.113.9')
    assert.match((await ask(app)).body, /127\.0\.0\.1/)
    const behind = createApp({
      logger,
      trustedProxies: ['127.0.0.0/8'],
      mount: (app) => void app.get('/address', (req, res) => void res.json(req.ip)),
    })
    const server = behind.listen(0, '127.0.0.1')
    assert.equal(
      (await request(server).get('/address').set('X-Forwarded-For', '203.0.113.9')).body,
      '203.0.113.9',
    )
    server.close()
  })

  it('believes X-Forwarded-Proto and X-Forwarded-Host from nobody', async () => {
    for (const trustedProxies of [[], ['127.0.0.0/8', '::1']]) {
      const app = createApp({
        logger,
        trustedProxies,
        mount: (app) =>
          void app.get('/place', (req, res) => void res.json({ protocol: req.protocol, host: req.hostname })),
      })
      const answer = await request(app)
        .get('/place')
        .set({ Host: 'hub.example', 'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'evil.example' })
      assert.deepEqual(answer.body, { protocol: 'http', host: 'hub.example' })
    }
  })
})
