import { randomUUID } from 'node:crypto'
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
    { method: 'POST', path: `/v1/streams/${stream}/verify`, roles: those },
  ]
}

export function operatorRefusals(ids: Ids): Refusal[] {
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
