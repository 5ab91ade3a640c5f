import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { sharedTwoHubs, type TwoHubs } from '../support/two-hubs.js'

const UNKNOWN_ID = '00000000-0000-4000-8000-000000000000'
const SUBJECT = { format: 'email', email: 'ann@example.com' }
const REALM = 'Bearer realm="firebreak"'
const INVALID_TOKEN = `${REALM}, error="invalid_token", error_description="The token is unknown, expired or revoked"`
const INVALID_REQUEST = `${REALM}, error="invalid_request"`

type Token = 'manage' | 'read' | 'admin' | 'viewer' | 'nonsense' | 'none'

/** What stands in the paths and bodies of the calls below. */
interface Ids {
  /** An enabled poll stream of the receiver. */
  stream: string
  /** One that an operator has paused. */
  held: string
  push: string
  receiver: string
  profiled: string
  disabled: string
  name: string
}

interface Call {
  method: string
  path: string
  token?: Token
  /** A string goes out as it is. */
  body?: object | string
  headers?: Record<string, string>
}

interface Refusal extends Call {
  title: string
  status: number
  code: string
  /** `WWW-Authenticate`; absent: the answer has none. */
  challenge?: string
  /** `Allow`; absent: the answer has none. */
  allow?: string
  /** What the message has to name. */
  names?: RegExp
}

/** Complete and valid calls, as their caller makes them. `body` is absent where the call takes none. */
const ssfCalls = ({ stream: stream_id }: Ids): (Call & { scope: 'ssf.read' | 'ssf.manage' })[] => [
  { method: 'GET', path: '/ssf/streams', scope: 'ssf.read' },
  { method: 'GET', path: `/ssf/streams?stream_id=${stream_id}`, scope: 'ssf.read' },
  { method: 'POST', path: '/ssf/streams', body: {}, scope: 'ssf.manage' },
  { method: 'PATCH', path: '/ssf/streams', body: { stream_id }, scope: 'ssf.manage' },
  { method: 'PUT', path: '/ssf/streams', body: { stream_id }, scope: 'ssf.manage' },
  { method: 'DELETE', path: `/ssf/streams?stream_id=${stream_id}`, scope: 'ssf.manage' },
  { method: 'GET', path: `/ssf/status?stream_id=${stream_id}`, scope: 'ssf.read' },
  { method: 'POST', path: '/ssf/status', body: { stream_id, status: 'enabled' }, scope: 'ssf.manage' },
  { method: 'POST', path: '/ssf/subjects/add', body: { stream_id, subject: SUBJECT }, scope: 'ssf.manage' },
  {
    method: 'POST',
    path: '/ssf/subjects/remove',
    body: { stream_id, subject: SUBJECT },
    scope: 'ssf.manage',
  },
  { method: 'POST', path: '/ssf/verify', body: { stream_id }, scope: 'ssf.manage' },
  { method: 'POST', path: `/ssf/poll/${stream_id}`, body: { maxEvents: 0 }, scope: 'ssf.read' },
]

/** Of `/v1/receivers` and `/v1/streams`: reading is for every role, the rest not for a viewer. */
const operatorCalls = ({ stream, receiver }: Ids): (Call & { roles?: string })[] => {
  const admins = 'admin'
  const those = 'operator, responder, approver, admin'
  return [
    { method: 'GET', path: '/v1/receivers' },
    { method: 'POST', path: '/v1/receivers', body: { name: randomUUID() }, roles: admins },
    { method: 'GET', path: `/v1/receivers/${receiver}` },
    { method: 'PATCH', path: `/v1/receivers/${receiver}`, body: { reports: [] }, roles: admins },
    { method: 'DELETE', path: `/v1/receivers/${UNKNOWN_ID}`, roles: admins },
    { method: 'POST', path: `/v1/receivers/${receiver}/enable`, roles: admins },
    { method: 'POST', path: `/v1/receivers/${receiver}/disable`, roles: admins },
    { method: 'POST', path: `/v1/receivers/${receiver}/rotate`, roles: admins },
    { method: 'GET', path: `/v1/receivers/${receiver}/tokens` },
    {
      method: 'POST',
      path: `/v1/receivers/${receiver}/tokens`,
      body: { scopes: ['ssf.read'] },
      roles: admins,
    },
    { method: 'DELETE', path: `/v1/receivers/${receiver}/tokens/${UNKNOWN_ID}`, roles: admins },
    { method: 'GET', path: '/v1/streams' },
    { method: 'GET', path: `/v1/streams/${stream}` },
    { method: 'POST', path: `/v1/streams/${stream}/pause`, body: {}, roles: those },
    { method: 'POST', path: `/v1/streams/${stream}/enable`, body: {}, roles: those },
  ]
}

const nameOf = ({ method, path }: Call) =>
  `${method} ${path.replaceAll(/[0-9a-f-]{36}/g, '{id}').replace(/\?.*/, ' of one')}`

/** Credentials: the same everywhere, and asked before anything else. */
function credentialRefusals(call: Call): Refusal[] {
  // A body that cannot be read shows that nobody looked at it (T-45).
  const unread: Call = { ...call, ...(call.body && { body: '{"x":' }) }
  const query = call.path.includes('?') ? '&' : '?'
  const title = nameOf(call)
  return [
    {
      ...unread,
      title: `${title} without a token`,
      token: 'none',
      status: 401,
      code: 'ERR_UNAUTHENTICATED',
      challenge: REALM,
    },
    {
      ...unread,
      title: `${title} with another scheme`,
      headers: { authorization: 'Basic YTpi' },
      status: 401,
      code: 'ERR_UNAUTHENTICATED',
      challenge: REALM,
    },
    {
      ...unread,
      title: `${title} with an unknown token`,
      token: 'nonsense',
      status: 401,
      code: 'ERR_INVALID_TOKEN',
      challenge: INVALID_TOKEN,
    },
    {
      ...unread,
      title: `${title} with a header that cannot be read`,
      headers: { authorization: 'Bearer two words' },
      status: 400,
      code: 'ERR_MALFORMED_CREDENTIALS',
      challenge: INVALID_REQUEST,
    },
    {
      ...unread,
      title: `${title} with the token in the query`,
      path: `${call.path}${query}access_token=x`,
      token: 'none',
      status: 400,
      code: 'ERR_MALFORMED_CREDENTIALS',
      challenge: INVALID_REQUEST,
    },
  ]
}

/** Bodies that no call takes, before the stream or receiver is looked for. */
function bodyRefusals(call: Call): Refusal[] {
  if (!call.body) return []
  const title = nameOf(call)
  const unknown = JSON.parse(JSON.stringify(call.body).replaceAll(/[0-9a-f-]{36}/g, UNKNOWN_ID)) as object
  const invalid = { ...call, status: 400, code: 'ERR_INVALID_REQUEST' }
  return [
    { ...invalid, title: `${title} with a body cut off`, body: '{"stream_id":"' },
    { ...invalid, title: `${title} with an array`, body: '[]' },
    { ...invalid, title: `${title} with null`, body: 'null' },
    { ...invalid, title: `${title} with text`, body: '"x"' },
    { ...invalid, title: `${title} with U+0000`, body: { ...unknown, description: 'a\u0000' } },
    { ...invalid, title: `${title} with half of a character`, body: { ...unknown, x: { '\ud800': 1 } } },
    { ...invalid, title: `${title} nested too deep`, body: `{"x":${'['.repeat(40)}${']'.repeat(40)}}` },
    { ...invalid, title: `${title} compressed`, headers: { 'content-encoding': 'gzip' }, body: '{}' },
    {
      ...invalid,
      title: `${title} in another character set`,
      headers: { 'content-type': 'application/json; charset=latin1' },
      body: '{}',
    },
    {
      ...call,
      title: `${title} with more than it takes`,
      body: { ...unknown, description: 'x'.repeat(1_100_000) },
      status: 413,
      code: 'ERR_TOO_LARGE',
    },
  ]
}

const SSF_METHODS: [string, string][] = [
  ['/ssf/streams', 'GET, POST, PATCH, PUT, DELETE'],
  ['/ssf/status', 'GET, POST'],
  ['/ssf/subjects/add', 'POST'],
  ['/ssf/subjects/remove', 'POST'],
  ['/ssf/verify', 'POST'],
  [`/ssf/poll/${UNKNOWN_ID}`, 'POST'],
]

function ssfRefusals(ids: Ids): Refusal[] {
  const { stream: stream_id, held, push } = ids
  const calls = ssfCalls(ids).map((call): Call => ({ ...call, token: 'manage' }))
  const bad = { status: 400, code: 'ERR_INVALID_REQUEST', token: 'manage' as const }
  const unknown = calls
    .filter((call) => JSON.stringify(call).includes(stream_id) && !call.path.startsWith('/ssf/poll'))
    .flatMap((call) =>
      [UNKNOWN_ID, 'no-uuid'].map(
        (id): Refusal => ({
          ...(JSON.parse(JSON.stringify(call).replaceAll(stream_id, id)) as Call),
          title: `${nameOf(call)} that is ${id === UNKNOWN_ID ? 'not there' : 'no id'}`,
          status: 404,
          code: 'ERR_STREAM_NOT_FOUND',
        }),
      ),
    )
  const create = (title: string, body: object, names: RegExp, code = bad.code): Refusal => ({
    ...bad,
    code,
    title: `POST /ssf/streams with ${title}`,
    method: 'POST',
    path: '/ssf/streams',
    body,
    names,
  })
  const onStream = (path: string, title: string, body: object, names: RegExp, code = bad.code): Refusal => ({
    ...bad,
    code,
    title: `POST ${path} with ${title}`,
    method: 'POST',
    path,
    body,
    names,
  })
  const query = (method: string, path: string, title: string): Refusal => ({
    ...bad,
    title: `${method} ${path} with ${title}`,
    method,
    path,
    names: /stream_id/,
  })
  const polled = `/ssf/poll/${stream_id}`
  return [
    ...calls.flatMap(credentialRefusals),
    ...calls.flatMap(bodyRefusals),
    ...calls.map(
      (call): Refusal => ({
        ...call,
        title: `${nameOf(call)} with an operator’s token`,
        token: 'admin',
        status: 401,
        code: 'ERR_INVALID_TOKEN',
        challenge: INVALID_TOKEN,
      }),
    ),
    ...ssfCalls(ids)
      .filter(({ scope }) => scope === 'ssf.manage')
      .map(
        (call): Refusal => ({
          ...call,
          title: `${nameOf(call)} with ssf.read alone`,
          token: 'read',
          ...(call.body && { body: '{"x":' }),
          status: 403,
          code: 'ERR_FORBIDDEN',
          challenge: `${REALM}, error="insufficient_scope", scope="ssf.manage"`,
          names: /ssf\.manage/,
        }),
      ),
    ...unknown,
    ...[UNKNOWN_ID, 'no-uuid', push].map(
      (id): Refusal => ({
        title: `POST /ssf/poll/ of ${id === push ? 'a push stream' : id}`,
        method: 'POST',
        path: `/ssf/poll/${id}`,
        token: 'manage',
        body: {},
        status: 404,
        code: 'ERR_NOT_FOUND',
      }),
    ),
    ...SSF_METHODS.flatMap(([path, allow]) =>
      ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']
        .filter((method) => !allow.split(', ').includes(method))
        .map(
          (method): Refusal => ({
            title: `${method} ${path.replace(UNKNOWN_ID, '{id}')}`,
            method,
            path,
            token: 'manage',
            status: 405,
            code: 'ERR_METHOD_NOT_ALLOWED',
            allow,
          }),
        ),
    ),
    create('an unknown delivery method', { delivery: { method: 'urn:ietf:rfc:9999' } }, /delivery\.method/),
    create('a delivery without method', { delivery: {} }, /delivery\.method is required/),
    create('push without endpoint_url', { delivery: { method: 'urn:ietf:rfc:8935' } }, /endpoint_url/),
    create(
      'poll with an endpoint_url',
      { delivery: { method: 'urn:ietf:rfc:8936', endpoint_url: '' } },
      /endpoint_url/,
    ),
    create(
      'an address inside',
      { delivery: { method: 'urn:ietf:rfc:8935', endpoint_url: 'https://10.0.0.1/x' } },
      /FIREBREAK_ALLOWED_NETWORKS/,
      'ERR_ADDRESS_REFUSED',
    ),
    create(
      'a header of two lines',
      {
        delivery: {
          method: 'urn:ietf:rfc:8935',
          endpoint_url: 'https://127.0.0.1/x',
          authorization_header: 'a\nb',
        },
      },
      /authorization_header/,
    ),
    create('events_requested that is text', { events_requested: 'x' }, /events_requested/),
    create('what the hub decides', { aud: 'x', stream_id: 'y' }, /stream_id, aud/),
    ...['PATCH', 'PUT'].flatMap((method): Refusal[] => [
      {
        ...bad,
        title: `${method} /ssf/streams without stream_id`,
        method,
        path: '/ssf/streams',
        body: {},
        names: /stream_id is required/,
      },
      {
        ...bad,
        title: `${method} /ssf/streams with another issuer`,
        method,
        path: '/ssf/streams',
        body: { stream_id, iss: 'https://other.example' },
        names: /iss/,
      },
    ]),
    query('GET', '/ssf/status', 'no stream_id'),
    query('DELETE', '/ssf/streams', 'no stream_id'),
    query('GET', '/ssf/streams?stream_id=', 'an empty stream_id'),
    query('GET', `/ssf/streams?stream_id=${stream_id}&stream_id=${stream_id}`, 'stream_id twice'),
    ...['/ssf/status', '/ssf/subjects/add', '/ssf/subjects/remove', '/ssf/verify'].map((path) =>
      onStream(path, 'no stream_id', { status: 'enabled', subject: SUBJECT }, /stream_id is required/),
    ),
    onStream('/ssf/status', 'another status', { stream_id, status: 'stopped' }, /enabled, paused, disabled/),
    onStream('/ssf/verify', 'a state that is no text', { stream_id, state: 7 }, /state/),
    ...['add', 'remove'].flatMap((kind) => [
      onStream(`/ssf/subjects/${kind}`, 'no subject', { stream_id }, /subject is required/),
      onStream(
        `/ssf/subjects/${kind}`,
        'a subject of no format',
        { stream_id, subject: { email: 'x' } },
        /format/,
        'ERR_INVALID_SUBJECT',
      ),
    ]),
    onStream(
      '/ssf/subjects/add',
      'verified as text',
      { stream_id, subject: SUBJECT, verified: 'yes' },
      /verified/,
    ),
    onStream(
      '/ssf/subjects/remove',
      'the stream’s own subject',
      { stream_id, subject: { format: 'opaque', id: stream_id } },
      /own subject/,
    ),
    {
      title: 'POST /ssf/status of a stream that an operator stopped',
      method: 'POST',
      path: '/ssf/status',
      token: 'manage',
      body: { stream_id: held, status: 'enabled' },
      status: 403,
      code: 'ERR_STATUS_HELD',
      names: /operator/,
    },
    ...(
      [
        ['maxEvents below zero', { maxEvents: -1 }],
        ['maxEvents as text', { maxEvents: '1' }],
        ['returnImmediately as text', { returnImmediately: 'yes' }],
        ['ack that is no array', { ack: 'x' }],
        ['setErrs without err', { setErrs: { x: {} } }],
      ] as const
    ).map(([title, body]) => onStream(polled, title, body, new RegExp(Object.keys(body)[0] ?? ''))),
    {
      title: 'GET of a path that is none',
      method: 'GET',
      path: '/ssf/nothing',
      token: 'manage',
      status: 404,
      code: 'ERR_NOT_FOUND',
    },
  ]
}

function operatorRefusals(ids: Ids): Refusal[] {
  const { receiver, profiled, disabled, name, stream } = ids
  const calls = operatorCalls(ids)
  const as = (call: Call, more: Omit<Refusal, keyof Call> & Partial<Call>): Refusal => ({
    ...call,
    token: 'admin',
    ...more,
  })
  const register = (title: string, body: object, names: RegExp, status = 400, code = 'ERR_INVALID_REQUEST') =>
    as(
      { method: 'POST', path: '/v1/receivers' },
      { title: `POST /v1/receivers with ${title}`, body, names, status, code },
    )
  const tokensOf = (id: string) => ({ method: 'POST', path: `/v1/receivers/${id}/tokens` })
  const scopes = ['ssf.read']
  const read = (path: string, names: RegExp) =>
    as({ method: 'GET', path }, { title: `GET ${path}`, names, status: 400, code: 'ERR_INVALID_REQUEST' })
  return [
    ...calls.map((call): Call => ({ ...call, token: 'admin' })).flatMap(credentialRefusals),
    ...calls
      // What a stream is stopped for, may be nothing at all; a body that is there is still read.
      .filter(({ body, path }) => body && !path.startsWith('/v1/streams'))
      .map((call): Call => ({ ...call, token: 'admin' }))
      .flatMap(bodyRefusals),
    ...calls.map((call) =>
      as(call, {
        title: `${nameOf(call)} with a receiver’s token`,
        token: 'manage',
        status: 401,
        code: 'ERR_INVALID_TOKEN',
        challenge: INVALID_TOKEN,
      }),
    ),
    ...calls
      .filter(({ roles }) => roles)
      .map((call) =>
        as(call, {
          title: `${nameOf(call)} as a viewer`,
          token: 'viewer',
          ...(call.body && { body: '{"x":' }),
          status: 403,
          code: 'ERR_FORBIDDEN',
          challenge: `${REALM}, error="insufficient_scope"`,
          names: /roles .*admin/,
        }),
      ),
    ...calls
      .filter(({ path }) => path.includes(receiver) || path.includes(stream))
      .flatMap((call) =>
        [UNKNOWN_ID, 'no-uuid'].map((id) =>
          as(call, {
            path: call.path.replace(receiver, id).replace(stream, id),
            title: `${nameOf(call)} that is ${id === UNKNOWN_ID ? 'not there' : 'no id'}`,
            status: 404,
            code:
              call.path.startsWith('/v1/streams') && id === UNKNOWN_ID
                ? 'ERR_STREAM_NOT_FOUND'
                : 'ERR_NOT_FOUND',
          }),
        ),
      ),
    register('no name', {}, /name is required/),
    register('a member that is not known', { name, colour: 'red' }, /colour is not known/),
    register('a compatibility switch that is none', { name, compatibility: { x: true } }, /accept_any_2xx/),
    register('a profile that is none', { name, profile: 'x' }, /caep-interop/),
    register('ES256 beside the profile', { name, profile: 'caep-interop', signing_alg: 'ES256' }, /RS256/),
    register('a source that is none', { name: randomUUID(), grants: { sources: ['nobody'] } }, /nobody/),
    register('keys and no use for them', { name, jwks: { keys: [{ kty: 'EC' }] } }, /jwks/),
    register('a name that is taken', { name }, /choose another/, 409, 'ERR_CONFLICT'),
    as(
      { method: 'PATCH', path: `/v1/receivers/${profiled}` },
      {
        title: 'PATCH /v1/receivers/{id} with a name that is taken',
        body: { name },
        names: /choose another/,
        status: 409,
        code: 'ERR_CONFLICT',
      },
    ),
    as(
      { method: 'PATCH', path: `/v1/receivers/${receiver}` },
      {
        title: 'PATCH /v1/receivers/{id} with nothing',
        body: {},
        names: /at least 1 member/,
        status: 400,
        code: 'ERR_INVALID_REQUEST',
      },
    ),
    as(tokensOf(receiver), {
      title: 'POST /v1/receivers/{id}/tokens with a scope that is none',
      body: { scopes: ['ssf.kill'] },
      names: /ssf\.read, ssf\.manage/,
      status: 400,
      code: 'ERR_INVALID_REQUEST',
    }),
    as(tokensOf(receiver), {
      title: 'POST /v1/receivers/{id}/tokens that ends in the past',
      body: { scopes, expires_at: '2001-01-01T00:00:00Z' },
      names: /expires_at/,
      status: 400,
      code: 'ERR_INVALID_REQUEST',
    }),
    as(tokensOf(disabled), {
      title: 'POST /v1/receivers/{id}/tokens of a disabled receiver',
      body: { scopes },
      names: /disabled/,
      status: 409,
      code: 'ERR_CONFLICT',
    }),
    as(tokensOf(profiled), {
      title: 'POST /v1/receivers/{id}/tokens of a receiver with a profile',
      body: { scopes },
      names: /\/oauth\/token/,
      status: 409,
      code: 'ERR_TOKEN_NOT_IN_PROFILE',
    }),
    as(
      { method: 'DELETE', path: `/v1/receivers/${receiver}/tokens/${UNKNOWN_ID}` },
      {
        title: 'DELETE of a token that is not there',
        names: /no token/,
        status: 404,
        code: 'ERR_NOT_FOUND',
      },
    ),
    read('/v1/receivers?limit=0', /limit/),
    read('/v1/receivers?cursor=x', /cursor/),
    read('/v1/streams?limit=1001', /limit/),
    read('/v1/streams?cursor=x', /cursor/),
    read('/v1/streams?status=stopped', /enabled, paused, disabled/),
    read('/v1/streams?receiver_id=x', /receiver_id/),
    as(
      { method: 'POST', path: `/v1/streams/${stream}/pause` },
      {
        title: 'POST /v1/streams/{id}/pause with a reason that is no text',
        body: { reason: 7 },
        names: /reason/,
        status: 400,
        code: 'ERR_INVALID_REQUEST',
      },
    ),
  ]
}

describe('error answers of the SSF endpoints, the poll endpoint, /v1/receivers and /v1/streams', function () {
  this.timeout(120_000)
  let hubs: TwoHubs
  let ids: Ids
  const tokens = new Map<Token, string>([['nonsense', 'nonsense']])

  before(async () => {
    hubs = await sharedTwoHubs()
    tokens.set('admin', hubs.adminToken)
    const name = randomUUID()
    const { id: receiver } = await ask<{ id: string }>('POST', '/v1/receivers', 'admin', { name })
    for (const [token, scope] of [
      ['manage', 'ssf.manage'],
      ['read', 'ssf.read'],
    ] as const) {
      const path = `/v1/receivers/${receiver}/tokens`
      tokens.set(token, (await ask<{ token: string }>('POST', path, 'admin', { scopes: [scope] })).token)
    }
    const viewer = { name: randomUUID(), role: 'viewer' }
    tokens.set('viewer', (await ask<{ token: string }>('POST', '/v1/operators', 'admin', viewer)).token)
    const add = async (body: object) =>
      (await ask<{ stream_id: string }>('POST', '/ssf/streams', 'manage', body)).stream_id
    const addReceiver = async (body: object) =>
      (await ask<{ id: string }>('POST', '/v1/receivers', 'admin', { name: randomUUID(), ...body })).id
    ids = {
      name,
      receiver,
      stream: await add({}),
      held: await add({}),
      push: await add({
        delivery: { method: 'urn:ietf:rfc:8935', endpoint_url: 'https://127.0.0.1:8443/x' },
      }),
      profiled: await addReceiver({ profile: 'caep-interop' }),
      disabled: await addReceiver({}),
    }
    await ask('POST', `/v1/streams/${ids.held}/pause`, 'admin', {})
    await ask('POST', `/v1/receivers/${ids.disabled}/disable`, 'admin')
  })

  async function send({ method, path, token = 'none', body, headers }: Call) {
    const bearer = tokens.get(token)
    const response = await fetch(hubs.url + path, {
      method,
      redirect: 'manual',
      headers: {
        ...(bearer !== undefined && { authorization: `Bearer ${bearer}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    return { status: response.status, headers: response.headers, text: await response.text() }
  }

  async function ask<T>(method: string, path: string, token: Token, body?: object): Promise<T> {
    const { status, text } = await send({ method, path, token, ...(body && { body }) })
    assert.ok(status < 300, `${method} ${path} answered ${status}: ${text}`)
    return JSON.parse(text) as T
  }

  async function check(refusal: Refusal): Promise<void> {
    const { title } = refusal
    const { status, headers, text } = await send(refusal)
    const body = JSON.parse(text) as { code: string; message: string }
    assert.deepEqual([title, status, body.code], [title, refusal.status, refusal.code], text)
    assert.deepEqual(Object.keys(body), ['code', 'message'], title)
    assert.match(body.message, refusal.names ?? /^.{10,}$/s, title)
    assert.ok(body.message.length < 2_000, title)
    assert.equal(headers.get('content-type'), 'application/json; charset=utf-8', title)
    assert.equal(headers.get('cache-control'), 'no-store', title)
    assert.equal(headers.get('x-content-type-options'), 'nosniff', title)
    assert.match(headers.get('x-request-id') ?? '', /^[0-9a-f-]{36}$/, title)
    assert.equal(headers.get('www-authenticate'), refusal.challenge ?? null, title)
    assert.equal(headers.get('allow'), refusal.allow ?? null, title)
    for (const name of ['location', 'etag', 'x-powered-by', 'retry-after', 'set-cookie']) {
      assert.equal(headers.get(name), null, `${title}: ${name}`)
    }
  }

  // The table needs ids that only `before` knows; its titles do not.
  const none: Ids = {
    stream: '11111111-0000-4000-8000-000000000000',
    held: '22222222-0000-4000-8000-000000000000',
    push: '33333333-0000-4000-8000-000000000000',
    receiver: '44444444-0000-4000-8000-000000000000',
    profiled: '55555555-0000-4000-8000-000000000000',
    disabled: '66666666-0000-4000-8000-000000000000',
    name: 'a',
  }
  for (const [surface, refusals] of [
    ['the SSF and poll endpoints', ssfRefusals],
    ['/v1/receivers and /v1/streams', operatorRefusals],
  ] as const) {
    describe(surface, () => {
      for (const [index, { title, status, code }] of refusals(none).entries()) {
        it(`${title}: ${status} ${code}`, async () => {
          await check(refusals(ids)[index] as Refusal)
        })
      }
    })
  }
})
