import assert from 'node:assert/strict'
import { type RequestOptions, request as sendRequest } from 'node:http'
import { hashSecret } from '../../src/auth/secrets.js'
import { LogUnavailable } from '../../src/eventlog/event-log.js'
import { describeHub } from '../../src/hub-description.js'
import { createIngestHandler } from '../../src/ingest/ingest-handler.js'
import { createIssuerKeys } from '../../src/ingest/issuer-keys.js'
import { createSetIngest } from '../../src/ingest/set-ingest.js'
import { createSourceBudgets } from '../../src/ingest/source-budget.js'
import type { Transmitter } from '../../src/ingest/transmitter.js'
import { createClock } from '../../src/kernel/clock.js'
import { Unavailable } from '../../src/kernel/errors.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createMetrics } from '../../src/kernel/metrics.js'
import { OutgoingFailed } from '../../src/outgoing/outgoing-errors.js'
import type { SecurityEvent } from '../../src/secevent/event.js'
import { SSF } from '../../src/secevent/event-types.js'
import { SetRejected } from '../../src/secevent/parse-set.js'
import { apiOperations } from '../support/api-operations.js'
import { serveHandler, setOf, type TestServer, TRANSMITTER_ID, transmitterOf } from './ingest-fixture.js'

interface Case {
  readonly title: string
  /** `400 invalid_key` in the form of RFC 8935, `404 ERR_NOT_FOUND` in the hub's own. */
  readonly expected: string
  readonly transmitter?: Partial<Transmitter>
  readonly id?: string
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  /** What the log says; default: that it has the event. */
  readonly append?: (events: readonly SecurityEvent[]) => Promise<void>
  readonly find?: () => Promise<never>
  /** What its stream says of the SET; default: that all is well. */
  readonly aboutStream?: () => Promise<never>
  /** The source has used up its budget. */
  readonly spent?: boolean
  /** Sends so much of the body and then nothing more. */
  readonly stallAfter?: number
  /** Beside those of every answer. */
  readonly answerHeaders?: Readonly<Record<string, RegExp>>
}

const RETRY = { 'retry-after': /^[1-9]\d*$/ }
const CUT = { connection: /^close$/ }

const CASES: readonly Case[] = [
  { title: 'a body that is no SET', expected: '400 invalid_request', body: 'x' },
  { title: 'no body', expected: '400 invalid_request', body: '' },
  { title: 'an encoded body', expected: '400 invalid_request', headers: { 'content-encoding': 'gzip' } },
  { title: 'a key that nobody registered', expected: '400 invalid_key', body: setOf({}, { kid: 'other' }) },
  { title: 'another issuer', expected: '400 invalid_issuer', body: setOf({ iss: 'https://evil.example' }) },
  {
    title: 'another audience',
    expected: '400 invalid_audience',
    body: setOf({ aud: 'https://evil.example' }),
  },
  {
    title: 'a verification with a state that the hub never asked with',
    expected: '400 invalid_state',
    body: setOf({
      sub_id: { format: 'opaque', id: 's1' },
      events: { [SSF.verification]: { state: 'not asked for' } },
    }),
    aboutStream: () => Promise.reject(new SetRejected('invalid_state', 'The hub asked with no such state.')),
  },
  {
    title: 'no Authorization header where one is registered',
    expected: '401 authentication_failed',
    transmitter: { authorizationHash: hashSecret('Bearer right') },
    answerHeaders: { 'www-authenticate': /^Bearer realm="firebreak"$/ },
  },
  {
    title: 'a wrong Authorization header',
    expected: '401 authentication_failed',
    transmitter: { authorizationHash: hashSecret('Bearer right') },
    headers: { authorization: 'Bearer wrong' },
    answerHeaders: { 'www-authenticate': /^Bearer realm="firebreak"$/ },
  },
  { title: 'an unknown transmitter', expected: '404 ERR_NOT_FOUND', id: TRANSMITTER_ID.replace('a', 'b') },
  { title: 'text that is no id', expected: '404 ERR_NOT_FOUND', id: 'x' },
  { title: 'a disabled transmitter', expected: '404 ERR_NOT_FOUND', transmitter: { enabled: false } },
  ...['GET', 'PUT', 'PATCH', 'DELETE'].map((method) => ({
    title: method,
    expected: '405 ERR_METHOD_NOT_ALLOWED',
    method,
    answerHeaders: { allow: /^POST$/ },
  })),
  {
    title: 'a body that stalls',
    expected: '408 ERR_TOO_SLOW',
    stallAfter: 10,
    answerHeaders: { ...RETRY, ...CUT },
  },
  { title: 'a SET that is too large', expected: '413 invalid_request', body: 'x'.repeat(65_537) },
  {
    title: 'a body far too large, unread',
    expected: '413 invalid_request',
    headers: { 'content-length': '3000000' },
    stallAfter: 10,
    answerHeaders: CUT,
  },
  {
    title: 'a stranger whose body is still coming',
    expected: '404 ERR_NOT_FOUND',
    id: 'x',
    stallAfter: 10,
  },
  {
    title: 'a source that has used up its budget',
    expected: '429 ERR_TOO_MANY_REQUESTS',
    spent: true,
    answerHeaders: RETRY,
  },
  {
    title: 'a failure that nobody expected',
    expected: '500 ERR_INTERNAL',
    append: () => Promise.reject(new Error('a secret detail')),
  },
  {
    title: 'a log that is away',
    expected: '503 ERR_LOG_UNAVAILABLE',
    append: () => Promise.reject(new LogUnavailable('The log is away; send it again.')),
    answerHeaders: RETRY,
  },
  {
    title: 'keys that cannot be fetched',
    expected: '503 ERR_KEYS_UNAVAILABLE',
    transmitter: { jwks: undefined as never, jwksUri: 'https://idp.example/jwks' },
    answerHeaders: RETRY,
  },
  {
    title: 'a stream that is being set up',
    expected: '503 ERR_UNAVAILABLE',
    transmitter: { audience: [] },
    answerHeaders: { 'retry-after': /^1$/ },
  },
  {
    title: 'a registry that is away',
    expected: '503 ERR_UNAVAILABLE',
    find: () =>
      Promise.reject(new Unavailable('The registry is away; send the SET again.', { retryAfterS: 1.5 })),
    answerHeaders: { 'retry-after': /^2$/ },
  },
]

describe('error answers of the push endpoint', () => {
  const seen = new Set<string>()
  const seenErrs = new Set<string>()
  let server: TestServer | undefined
  afterEach(async () => {
    await server?.stop()
    server = undefined
  })

  async function start(given: Case): Promise<void> {
    const clock = createClock()
    const metrics = createMetrics()
    const { jwks, ...rest } = transmitterOf(given.transmitter)
    const transmitter = { ...rest, ...(jwks && { jwks }) }
    const outgoing = {
      request: async () => {
        throw new OutgoingFailed('connect')
      },
    }
    const ingest = createSetIngest({
      clock,
      keys: createIssuerKeys({ outgoing, clock, logger: silentLogger, metrics }),
      budgets: given.spent ? { take: () => 'spent', giveBack: () => {} } : createSourceBudgets(clock),
      log: { append: given.append ?? (async () => {}) },
      ...(given.aboutStream && { aboutStream: given.aboutStream }),
    })
    const find = given.find ?? (async (id: string) => (id === TRANSMITTER_ID ? transmitter : undefined))
    const handler = createIngestHandler({
      registry: { find },
      ingest,
      clock,
      logger: silentLogger,
      metrics,
      bodyTimeMs: 50,
    })
    server = await serveHandler(handler)
  }

  interface Answer {
    readonly status: number
    readonly headers: Readonly<Record<string, string | string[] | undefined>>
    readonly body: Record<string, string>
  }

  function push({ id = TRANSMITTER_ID, method = 'POST', headers, body = setOf(), stallAfter }: Case) {
    const length =
      stallAfter === undefined ? { 'content-length': Buffer.byteLength(body) } : { 'content-length': 60_000 }
    const options: RequestOptions = {
      method,
      port: server?.port,
      path: `/ingest/${id}`,
      headers: { connection: 'keep-alive', ...length, ...headers },
      agent: false,
    }
    return new Promise<Answer>((resolve, reject) => {
      const sent = sendRequest(options, async (res) => {
        const chunks: Buffer[] = await res.toArray()
        sent.destroy()
        const text = Buffer.concat(chunks).toString()
        resolve({
          status: res.statusCode ?? 0,
          headers: res.headers,
          body: JSON.parse(text) as Answer['body'],
        })
      })
      sent.on('error', reject)
      if (stallAfter === undefined) sent.end(body)
      else sent.write(body.slice(0, stallAfter))
    })
  }

  for (const each of CASES) {
    it(`answers ${each.expected} to ${each.title}`, async () => {
      await start(each)
      const { status, headers, body } = await push(each)
      assert.equal(`${status} ${body.err ?? body.code}`, each.expected, JSON.stringify(body))
      assert.deepEqual(Object.keys(body), body.err ? ['err', 'description'] : ['code', 'message'])
      assert.doesNotMatch(JSON.stringify(body), /secret|Error:|\.[jt]s\b/)
      assert.equal(headers['content-type'], 'application/json')
      assert.equal(headers['content-language'], 'en')
      assert.equal(headers['cache-control'], 'no-store')
      for (const name of ['retry-after', 'allow', 'www-authenticate', 'connection']) {
        const expected =
          each.answerHeaders?.[name] ?? (name === 'connection' ? /^keep-alive$/ : /^undefined$/)
        assert.match(String(headers[name]), expected, name)
      }
      seen.add(body.err ? String(status) : each.expected)
      if (body.err) seenErrs.add(body.err)
    })
  }

  it('are all that the document tells of, each seen above', () => {
    const operation = apiOperations().find(({ id }) => id === 'pushSet') ?? assert.fail()
    const told = [...operation.errors, '400', '401', '413']
    assert.deepEqual([...seen].sort(), told.sort())
    const { schemas } = describeHub({ issuer: 'https://hub.example' }).components as {
      schemas: { SetError: { properties: { err: { enum: string[] } } } }
    }
    assert.deepEqual([...seenErrs].sort(), [...schemas.SetError.properties.err.enum].sort())
  })
})
