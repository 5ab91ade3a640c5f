import {
  bodyRefusals,
  type Call,
  credentialRefusals,
  type Ids,
  INVALID_TOKEN,
  nameOf,
  REALM,
  type Refusal,
  UNKNOWN_ID,
} from './refusal.js'

const SUBJECT = { format: 'email', email: 'ann@example.com' }

/** Complete and valid calls, as their caller makes them. `body` is absent where the call takes none. */
export const ssfCalls = ({
  stream: stream_id,
}: Pick<Ids, 'stream'>): (Call & { scope: 'ssf.read' | 'ssf.manage' })[] => [
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

const SSF_METHODS: [string, string][] = [
  ['/ssf/streams', 'GET, POST, PATCH, PUT, DELETE'],
  ['/ssf/status', 'GET, POST'],
  ['/ssf/subjects/add', 'POST'],
  ['/ssf/subjects/remove', 'POST'],
  ['/ssf/verify', 'POST'],
  [`/ssf/poll/${UNKNOWN_ID}`, 'POST'],
]

export function ssfRefusals(ids: Ids): Refusal[] {
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
    ...ssfCalls(ids).map(
      ({ scope, ...call }): Refusal => ({
        ...call,
        title: `${nameOf(call)} with a token of no scope`,
        token: 'unscoped',
        ...(call.body && { body: '{"x":' }),
        status: 403,
        code: 'ERR_FORBIDDEN',
        challenge: `${REALM}, error="insufficient_scope", scope="${scope}"`,
        names: new RegExp(scope.replace('.', '\\.')),
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
    ...['PATCH', 'PUT'].map(
      (method): Refusal => ({
        ...bad,
        code: 'ERR_ADDRESS_REFUSED',
        title: `${method} /ssf/streams with an address inside`,
        method,
        path: '/ssf/streams',
        body: { stream_id, delivery: { method: 'urn:ietf:rfc:8935', endpoint_url: 'https://10.0.0.1/x' } },
        names: /FIREBREAK_ALLOWED_NETWORKS/,
      }),
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
