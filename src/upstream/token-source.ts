import { wellKnownUrl } from '../auth/authorization-metadata.js'
import { basicCredentials, formEncode } from '../auth/basic-credentials.js'
import type { Clock } from '../kernel/clock.js'
import type { Outgoing, OutgoingResponse } from '../outgoing/outgoing.js'
import { ask, jsonOf, unexpected, withoutSecrets } from './json-answer.js'
import { UpstreamFailed, UpstreamMistrusted } from './upstream-errors.js'
import type { KeptCredentials } from './upstream-stream.js'

/** Bearer tokens for one transmitter's management API and polls. */
export interface TokenSource {
  /** One that is good for now. @throws UpstreamFailed, UpstreamMistrusted */
  get(): Promise<string>
  /** Another one, after `refused` was answered with 401; undefined when there is no other. @throws as get */
  renew(refused: string): Promise<string | undefined>
}

export interface TokenSourceOptions {
  credentials: KeptCredentials
  secret: string
  /** The SSF issuer: its own authorization server, unless the credentials name another. */
  issuer: string
  outgoing: Pick<Outgoing, 'request' | 'checkUrl'>
  clock: Clock
}

type ClientCredentials = Extract<KeptCredentials, { kind: 'client' }>

interface Token {
  readonly value: string
  readonly renewAtMs: number
}

const DEADLINE_MS = 5_000
/** Both together: some ask for `ssf.read` by its name although `ssf.manage` includes it. */
const DEFAULT_SCOPE = 'ssf.read ssf.manage'
/** A token is renewed when a fifth of its life is left, a minute at most. */
const RENEW_SHARE = 0.2
const RENEW_AHEAD_MS = 60_000
const MAX_TOKEN_CHARS = 16_384

export function createTokenSource(options: TokenSourceOptions): TokenSource {
  const { credentials, secret, clock } = options
  if (credentials.kind === 'token') return { get: async () => secret, renew: async () => undefined }
  let token: Token | undefined
  let fetching: Promise<Token> | undefined
  let endpoint: Promise<TokenEndpoint> | undefined

  async function fetchToken(): Promise<Token> {
    endpoint ??= findTokenEndpoint(credentials as ClientCredentials, options)
    endpoint.catch(() => {
      endpoint = undefined
    })
    return await requestToken(await endpoint, credentials as ClientCredentials, options)
  }

  /** All that need a token wait for one request. */
  function fresh(): Promise<Token> {
    fetching ??= fetchToken()
      .then((fetched) => {
        token = fetched
        return fetched
      })
      .finally(() => {
        fetching = undefined
      })
    return fetching
  }

  return {
    async get() {
      if (token && clock.monotonicMs() < token.renewAtMs) return token.value
      return (await fresh()).value
    },
    async renew(refused) {
      if (token && token.value !== refused) return token.value
      return (await fresh()).value
    },
  }
}

interface TokenEndpoint {
  readonly url: string
  readonly authMethod: 'client_secret_basic' | 'client_secret_post'
}

async function findTokenEndpoint(
  credentials: ClientCredentials,
  { issuer, outgoing, clock }: TokenSourceOptions,
): Promise<TokenEndpoint> {
  const { tokenEndpoint, authMethod, authorizationServer = issuer } = credentials
  if (tokenEndpoint !== undefined)
    return { url: tokenEndpoint, authMethod: authMethod ?? 'client_secret_basic' }
  const what = 'The metadata of the authorization server'
  const answer = await ask(outgoing, what, {
    url: wellKnownUrl(authorizationServer),
    method: 'GET',
    headers: { accept: 'application/json' },
    deadlineMs: DEADLINE_MS,
    pool: 'metadata',
  })
  const document = jsonOf(answer) as Record<string, unknown> | undefined
  if (answer.status !== 200 || !document) throw unexpected(what, answer, clock.now())
  // RFC 8414 §3.3: otherwise it may be another's, and would be sent our secret.
  if (document.issuer !== authorizationServer) {
    throw new UpstreamMistrusted('The metadata of the authorization server name another issuer.')
  }
  const { token_endpoint: url, token_endpoint_auth_methods_supported: methods } = document
  if (typeof url !== 'string') throw new UpstreamFailed(`${what} have no "token_endpoint".`)
  await outgoing.checkUrl(url)
  const postOnly =
    Array.isArray(methods) &&
    !methods.includes('client_secret_basic') &&
    methods.includes('client_secret_post')
  return { url, authMethod: authMethod ?? (postOnly ? 'client_secret_post' : 'client_secret_basic') }
}

/** RFC 6749 §4.4.2, §2.3.1. */
async function requestToken(
  { url, authMethod }: TokenEndpoint,
  credentials: ClientCredentials,
  { secret, outgoing, clock }: TokenSourceOptions,
): Promise<Token> {
  const what = 'The token endpoint'
  const form = new URLSearchParams({
    grant_type: 'client_credentials',
    scope: credentials.scope ?? DEFAULT_SCOPE,
  })
  const headers: Record<string, string> = {
    'content-type': 'application/x-www-form-urlencoded',
    accept: 'application/json',
  }
  if (authMethod === 'client_secret_post') {
    form.set('client_id', credentials.clientId)
    form.set('client_secret', secret)
  } else {
    headers.authorization = basicCredentials(credentials.clientId, secret)
  }
  const beganMs = clock.monotonicMs()
  const sent = {
    url,
    method: 'POST',
    headers,
    body: form.toString(),
    deadlineMs: DEADLINE_MS,
    pool: 'metadata',
  } as const
  const answer = await ask(outgoing, what, sent)
  const body = jsonOf(answer) as
    | { access_token?: unknown; token_type?: unknown; expires_in?: unknown }
    | undefined
  if (answer.status !== 200 || !body) {
    const secrets = [secret, formEncode(secret), headers.authorization ?? '']
    throw unexpected(what, withoutSecrets(errorOf(answer), secrets), clock.now())
  }
  const { access_token: value, token_type: type, expires_in: expiresInS } = body
  // RFC 6749 §7.1: a token of a type that one does not know must not be used.
  const isBearer = type === undefined || (typeof type === 'string' && type.toLowerCase() === 'bearer')
  if (
    typeof value !== 'string' ||
    !/^[\x21-\x7e]+$/.test(value) ||
    value.length > MAX_TOKEN_CHARS ||
    !isBearer
  ) {
    throw new UpstreamFailed(`${what} gave no bearer token.`)
  }
  const lifeMs = Number(expiresInS) > 0 ? Number(expiresInS) * 1000 : Number.POSITIVE_INFINITY
  return { value, renewAtMs: beganMs + lifeMs - Math.min(RENEW_AHEAD_MS, lifeMs * RENEW_SHARE) }
}

/** Only what is meant to be read (RFC 6749 §5.2): the rest may be the request, or a debug page with it. */
function errorOf(answer: OutgoingResponse): OutgoingResponse {
  const { error, error_description: description } = (jsonOf(answer) ?? {}) as Record<string, unknown>
  const words = [error, description].filter((word) => typeof word === 'string')
  return { ...answer, body: Buffer.from(words.join(': ')) }
}
