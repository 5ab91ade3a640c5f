import { generateKeyPairSync } from 'node:crypto'
import type { Express, Request, RequestHandler } from 'express'
import type { Client, Configuration, KoaContextWithOIDC, Provider } from 'oidc-provider'
import { asUnavailable } from '../http/outages.js'
import type { Clock } from '../kernel/clock.js'
import { type TooManyRequests, Unavailable } from '../kernel/errors.js'
import { issuerPath } from '../kernel/issuer-url.js'
import type { Logger } from '../kernel/logger.js'
import type { Database } from '../storage/database.js'
import type { AttemptLimiter } from './attempt-limiter.js'
import { createAdapterFactory } from './authorization-adapter.js'
import { KEY_ALGORITHMS, OAUTH_PATHS, serverMetadata, wellKnownPath } from './authorization-metadata.js'
import type { CallLimiter } from './call-limiter.js'
import type { Scope } from './callers.js'
import { hashSecret, isSameHash } from './secrets.js'

export interface AuthorizationServerOptions {
  db: Database
  clock: Pick<Clock, 'monotonicMs'>
  logger: Logger
  /** The hub's ISSUER; it is the authorization server's issuer too. */
  issuer: string
  /** Bounds failed client authentication by address. */
  attempts?: AttemptLimiter
  /** Bounds the tokens that one client is given. */
  tokens?: CallLimiter
  /** At most 3600 (CAEP interoperability profile §2.7.1), which is the default. */
  tokenLifetimeS?: number
}

const SCOPES: readonly Scope[] = ['ssf.read', 'ssf.manage']
const LONGEST_ASSERTION_S = 3_600
/** What a caller is told that must wait: with 429, as with 503, in the form of RFC 6749 §5.2, which has no name for it. */
const WAIT = 'temporarily_unavailable'

/**
 * The OAuth 2.0 authorization server for receivers: client credentials, introspection (RFC 7662), revocation (RFC 7009)
 * and metadata (RFC 8414). The library is loaded here, for it takes 0.3 s that other roles need not spend.
 * @returns what `mount` of `createApp` calls; the library reads the request itself, so no body parser may stand before it
 */
export async function createAuthorizationServer(
  options: AuthorizationServerOptions,
): Promise<(app: Express) => void> {
  const { Provider, errors } = await importQuietly()
  const provider = new Provider(
    options.issuer,
    configuration(options, {
      currentSecretHash: () => currentClient(Provider)?.clientSecret,
      checkAssertion: assertionCheck(options.tokens, errors),
    }),
  )
  provider.registerGrantType(
    'client_credentials',
    async (ctx) => {
      // Each token is a row that lives for an hour: a client that asks without end must not fill the table.
      const refusal = options.tokens?.take((ctx.oidc.client as Client).clientId)
      if (refusal) refuse(ctx, refusal)
      else await grant(provider, ctx, errors.InvalidScope)
    },
    ['scope'],
  )
  useHashedSecrets(provider, Provider)
  // Before what turns a status into 401, so that it sees the final one.
  limitFailures(provider, options.attempts)
  nameMissingClient(provider)
  provider.on('server_error', (ctx, error) => {
    const known = asUnavailable(error)
    if (known instanceof Unavailable) {
      ctx.status = 503
      ctx.set('Retry-After', String(Math.ceil(known.retryAfterS ?? 2)))
      ctx.body = { error: WAIT, error_description: known.message }
      return
    }
    options.logger.error('oauth.failed', { path: ctx.path, error: error.stack ?? error.message })
  })

  const answer = provider.callback()
  const issuer = new URL(options.issuer)
  const path = issuerPath(options.issuer)
  // The library reads its own URLs, and with them the audiences of assertions, off the request. A caller could
  // write another server's name there and replay what was signed for that one: the issuer alone decides.
  provider.proxy = true
  const endpointBelow =
    (below: string): RequestHandler =>
    (req, res) => {
      req.headers['x-forwarded-host'] = issuer.host
      req.headers['x-forwarded-proto'] = issuer.protocol.slice(0, -1)
      // To the library every request is one below the issuer's path: the difference of the two is where it stands.
      // A target in absolute form would be that host's to the library; only its path and query count.
      const query = req.originalUrl.indexOf('?')
      req.url = req.path.slice(below.length) + (query < 0 ? '' : req.originalUrl.slice(query))
      req.originalUrl = path + req.url
      void answer(req, res)
    }
  const metadata = serverMetadata(options.issuer)
  return (app) => {
    app.get(wellKnownPath(options.issuer), (_req, res) => {
      res.set('Cache-Control', 'public, max-age=300').json(metadata)
    })
    // Only these: the library would serve an authorization endpoint and more under the same prefix.
    // Where the metadata says, and without the issuer's path for a proxy that takes it off.
    for (const below of new Set(['', path])) {
      const paths = Object.values(OAUTH_PATHS).map((endpoint) => below + endpoint)
      app.post(paths, endpointBelow(below))
    }
  }
}

type AssertionCheck = NonNullable<Configuration['assertJwtClientAuthClaimsAndHeader']>

/**
 * Each assertion is remembered until it ends, so that it counts once: one for years would be a row for years, and
 * a client that signs without end must not fill the table either.
 */
function assertionCheck(
  tokens: CallLimiter | undefined,
  errors: typeof import('oidc-provider')['errors'],
): AssertionCheck {
  return async (ctx, claims, _header, client) => {
    if (Number(claims.exp) > Date.now() / 1000 + LONGEST_ASSERTION_S) {
      throw new errors.InvalidClientAuth('assertion expires too late; it may be good for an hour at most')
    }
    const refusal = tokens?.take(`assertions of ${client.clientId}`)
    if (!refusal) return
    ctx.set('Retry-After', String(Math.ceil(refusal.retryAfterS ?? 1)))
    const error = new errors.CustomOIDCProviderError(WAIT, refusal.message)
    throw Object.assign(error, { status: refusal.status, statusCode: refusal.status })
  }
}

function configuration(
  options: AuthorizationServerOptions,
  own: { currentSecretHash(): string | undefined; checkAssertion: AssertionCheck },
): Configuration {
  const ownToken = async (
    _ctx: KoaContextWithOIDC,
    client: Client,
    token: { clientId?: string | undefined },
  ) => token.clientId === client.clientId
  return {
    adapter: createAdapterFactory({
      db: options.db,
      clock: options.clock,
      logger: options.logger,
      currentSecretHash: own.currentSecretHash,
    }),
    assertJwtClientAuthClaimsAndHeader: own.checkAssertion,
    // Signs nothing: tokens are opaque. Without a key of our own the library warns about its published one.
    jwks: {
      keys: [
        generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }),
      ] as never,
    },
    // Its default, RS256, is not what the key above can do.
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    scopes: [...SCOPES],
    responseTypes: [],
    clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
    enabledJWA: { clientAuthSigningAlgValues: [...KEY_ALGORITHMS] },
    ttl: { ClientCredentials: Math.min(options.tokenLifetimeS ?? 3600, 3600) },
    formats: { bitsOfOpaqueRandomness: 256 },
    routes: {
      token: OAUTH_PATHS.token,
      introspection: OAUTH_PATHS.introspection,
      revocation: OAUTH_PATHS.revocation,
    },
    clientBasedCORS: () => false,
    features: {
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: ownToken },
      revocation: { enabled: true, allowedPolicy: ownToken },
      devInteractions: { enabled: false },
      userinfo: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      resourceIndicators: { enabled: false },
      pushedAuthorizationRequests: { enabled: false },
      dPoP: { enabled: false },
    },
    renderError: (ctx, out) => {
      ctx.type = 'json'
      ctx.body = out
    },
  }
}

/** RFC 6749 §4.4. A scope must be asked for and known: a token without scopes would be good for nothing. */
async function grant(
  provider: Provider,
  ctx: KoaContextWithOIDC,
  InvalidScope: new (description: string, scope: string) => Error,
): Promise<void> {
  const asked = String(ctx.oidc.params?.scope ?? '')
  const scopes = [...new Set(asked.split(' ').filter((scope) => scope !== ''))]
  const unknown = scopes.filter((scope) => !(SCOPES as readonly string[]).includes(scope))
  if (scopes.length === 0 || unknown.length > 0) {
    throw new InvalidScope(`scope must be one or both of ${SCOPES.join(' ')}`, asked)
  }
  const scope = scopes.join(' ')
  const client = ctx.oidc.client as Client
  const token = new provider.ClientCredentials({ client, scope } as never)
  ctx.oidc.entity('ClientCredentials', token)
  const value = await token.save()
  ctx.body = { access_token: value, expires_in: token.expiration, token_type: 'Bearer', scope }
}

/**
 * Secrets are known only as hashes. The library takes basic and post as one; here each client is held to the one it
 * registered. An empty parameter counts as none (RFC 6749 §3.1).
 */
function useHashedSecrets(provider: Provider, ProviderClass: typeof Provider): void {
  Object.defineProperty(provider.Client.prototype, 'compareClientSecret', {
    value(this: Client, actual: string): boolean {
      const params = (ProviderClass.ctx as KoaContextWithOIDC | undefined)?.oidc.params
      const sent = params?.client_secret ? 'client_secret_post' : 'client_secret_basic'
      const isRight = isSameHash(hashSecret(actual), Buffer.from(this.clientSecret ?? '', 'hex'))
      return isRight && this.tokenEndpointAuthMethod === sent
    },
  })
}

/** RFC 6749 §5.2 has a request without client authentication as `invalid_client`; the library answers `invalid_request`. */
function nameMissingClient(provider: Provider): void {
  provider.use(async (ctx, next) => {
    await next()
    const answer = ctx.body as { error?: string; error_description?: string } | undefined
    if (answer?.error_description !== 'no client authentication mechanism provided') return
    ctx.body = { ...answer, error: 'invalid_client' }
    ctx.status = 401
    ctx.set('WWW-Authenticate', `Basic realm="${provider.issuer}"`)
  })
}

function currentClient(ProviderClass: typeof Provider): Client | undefined {
  return (ProviderClass.ctx as KoaContextWithOIDC | undefined)?.oidc.client
}

/** Counts refused client authentication by address, and answers 429 in place of 401 above the limit. */
function limitFailures(provider: Provider, attempts: AttemptLimiter | undefined): void {
  if (!attempts) return
  provider.use(async (ctx, next) => {
    await next()
    if (ctx.status !== 401) return
    // The request is express's own, which knows the proxies to believe.
    const refusal = attempts.failed((ctx.req as Request).ip ?? 'unknown')
    if (!refusal) return
    ctx.remove('WWW-Authenticate')
    refuse(ctx, refusal)
  })
}

function refuse(ctx: Pick<KoaContextWithOIDC, 'status' | 'set' | 'body'>, refusal: TooManyRequests): void {
  ctx.status = refusal.status
  ctx.set('Retry-After', String(Math.ceil(refusal.retryAfterS ?? 1)))
  ctx.body = { error: WAIT, error_description: refusal.message }
}

/** The library warns on standard error about runtimes it does not test; which we run on is our own decision. */
async function importQuietly(): Promise<typeof import('oidc-provider')> {
  const warn = console.warn
  console.warn = () => {}
  try {
    return await import('oidc-provider')
  } finally {
    console.warn = warn
  }
}
