import { createExternalTokens, type ExternalTokens } from './auth/external-tokens.js'
import { createFetchJson } from './auth/fetch-json.js'
import { createJwksDiscovery } from './auth/issuer-metadata.js'
import { createJwtVerifier } from './auth/jwt-tokens.js'
import { createIntrospection } from './auth/token-introspection.js'
import type { HubBase } from './hub-base.js'
import type { IssuerKeys } from './ingest/issuer-keys.js'
import type { Worker } from './kernel/worker.js'

/** The authorization server of OAUTH_ISSUER; undefined when the hub's own serves the receivers. */
export function openExternalTokens(
  base: Pick<HubBase, 'config' | 'issuer' | 'clock' | 'logger' | 'outgoing'>,
  issuerKeys: IssuerKeys,
): ExternalTokens | undefined {
  const { config, clock, logger } = base
  const issuer = config.oauthIssuer
  if (!issuer) return undefined
  const fetchJson = createFetchJson((asked) => base.outgoing.request({ ...asked, pool: 'metadata' }))
  const discover = createJwksDiscovery({ issuer, fetchJson, clock, logger })
  const audience = config.oauthAudience ?? base.issuer
  const { oauthIntrospectionEndpoint: endpoint } = config
  return createExternalTokens({
    issuer,
    audience,
    clientClaim: config.oauthClientClaim,
    nowMs: clock.now,
    verifyJwt: createJwtVerifier({
      issuer,
      audience,
      async keys() {
        const arrivedMs = clock.monotonicMs()
        const jwksUri = config.oauthJwksUri ?? (await discover())
        return issuerKeys.sourceFor({ id: issuer, version: 1, jwksUri }, arrivedMs)
      },
      nowMs: clock.now,
    }),
    ...(endpoint && {
      introspect: createIntrospection({
        endpoint,
        clientId: config.oauthIntrospectionClientId as string,
        clientSecret: config.oauthIntrospectionClientSecret as string,
        fetchJson,
        clock,
        logger,
      }),
    }),
  })
}

/** Lets readiness say that the authorization server is away. */
export const toIssuerWatch = ({ health }: ExternalTokens): Worker => ({
  name: 'oauth-issuer',
  start: async () => {},
  stop: async () => {},
  health,
})
