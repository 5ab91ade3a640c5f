import { faultOf } from './answer-check.js'
import { HUB_AUDIENCE, SESSION_ESTABLISHED, SESSION_REVOKED, type Upstream } from './upstream.js'

export interface Answer<T> {
  readonly status: number
  readonly body: T
}

/** Calls a hub with one bearer token. Connection errors are thrown; every answer is returned. */
export interface HubApi {
  ask<T = unknown>(method: string, path: string, body?: object): Promise<Answer<T>>
  /** As `ask`; throws on an answer that is not 2xx. */
  call<T = unknown>(method: string, path: string, body?: object): Promise<T>
}

export interface ReceiverAccount {
  readonly id: string
  readonly token: string
  readonly audience: string
}

interface StreamBody {
  stream_id: string
  delivery: { endpoint_url: string }
}

/** @param base asked at each call, so that a client may change to another process */
export function hubApi(base: () => string, token: string): HubApi {
  async function ask<T>(method: string, path: string, body?: object): Promise<Answer<T>> {
    const response = await fetch(base() + path, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body && { 'content-type': 'application/json' }),
      },
      signal: AbortSignal.timeout(15_000),
      ...(body && { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    // A hub that is a child process is out of reach of answer-hooks.ts.
    const headers = Object.fromEntries(response.headers)
    const fault = faultOf({ method, url: path, status: response.status, headers, body: text })
    if (fault) throw new Error(`not as the OpenAPI document says: ${fault}`)
    return { status: response.status, body: (text ? JSON.parse(text) : undefined) as T }
  }
  return {
    ask,
    async call<T>(method: string, path: string, body?: object) {
      const answer = await ask<T>(method, path, body)
      if (answer.status >= 200 && answer.status < 300) return answer.body
      throw new Error(`${method} ${path} answered ${answer.status}: ${JSON.stringify(answer.body)}`)
    },
  }
}

/** Registers the upstream and answers the path that it pushes to. */
export async function addTransmitter(admin: HubApi, upstream: Upstream): Promise<string> {
  const { id } = await admin.call<{ id: string }>('POST', '/v1/transmitters', {
    name: new URL(upstream.issuer).hostname,
    issuer: upstream.issuer,
    audience: HUB_AUDIENCE,
    algorithms: ['ES256'],
    ...(upstream.jwksUri ? { jwks_uri: upstream.jwksUri } : { jwks: upstream.jwks }),
    // The budget is another test's matter.
    budget_per_s: 1_000_000,
  })
  return `/ingest/${id}`
}

export async function addReceiver(admin: HubApi, name: string, settings?: object): Promise<ReceiverAccount> {
  const { id, audience } = await admin.call<{ id: string; audience: string }>('POST', '/v1/receivers', {
    name,
    ...settings,
  })
  const { token } = await admin.call<{ token: string }>('POST', `/v1/receivers/${id}/tokens`, {
    scopes: ['ssf.read', 'ssf.manage'],
  })
  return { id, token, audience }
}

/** SSF 1.0 §8.1.1.1 as that receiver. Answers the stream's id. */
export async function addPushStream(
  receiver: HubApi,
  endpointUrl: string,
  types: readonly string[] = [SESSION_REVOKED, SESSION_ESTABLISHED],
): Promise<string> {
  const { stream_id } = await receiver.call<StreamBody>('POST', '/ssf/streams', {
    events_requested: types,
    delivery: { method: 'urn:ietf:rfc:8935', endpoint_url: endpointUrl },
  })
  return stream_id
}

/** Answers the id and the path to poll. */
export async function addPollStream(
  receiver: HubApi,
  types: readonly string[] = [SESSION_REVOKED, SESSION_ESTABLISHED],
): Promise<{ streamId: string; path: string }> {
  const { stream_id, delivery } = await receiver.call<StreamBody>('POST', '/ssf/streams', {
    events_requested: types,
    delivery: { method: 'urn:ietf:rfc:8936' },
  })
  return { streamId: stream_id, path: new URL(delivery.endpoint_url).pathname }
}
