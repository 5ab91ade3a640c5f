import { createExternalTokens, type ExternalTokens } from './auth/external-tokens.js'
import { createJwksDiscovery, type FetchJson } from './auth/issuer-metadata.js'
import { createIntrospection } from './auth/token-introspection.js'
import type { HubBase } from './hub-base.js'
import type { IssuerKeys } from './ingest/issuer-keys.js'
import { Unavailable } from './kernel/errors.js'
import { verifyAccessToken } from './secevent/verify-access-token.js'
import { KeysUnavailable } from './secevent/verify-set.js'

const DEADLINE_MS = 3_000

/** The authorization server of OAUTH_ISSUER; undefined when the hub's own serves the receivers. */
export function openExternalTokens(base: HubBase, issuerKeys: IssuerKeys): ExternalTokens | undefined {
  const { config, clock, logger } = base
  const issuer = config.oauthIssuer
  if (!issuer) return undefined
  const fetchJson = createFetchJson(base)
  const discover = createJwksDiscovery({ issuer, fetchJson, clock, logger })
  const audience = config.oauthAudience ?? base.issuer
  const { oauthIntrospectionEndpoint: endpoint } = config
  return createExternalTokens({
    issuer,
    audience,
    clientClaim: config.oauthClientClaim,
    nowMs: clock.now,
    async verifyJwt(token) {
      const arrivedMs = clock.monotonicMs()
      const jwksUri = config.oauthJwksUri ?? (await discover())
      const keys = issuerKeys.sourceFor({ id: issuer, version: 1, jwksUri }, arrivedMs)
      try {
        return await verifyAccessToken(token, { issuer, audience, keys, nowMs: clock.now() })
      } catch (cause) {
        if (!(cause instanceof KeysUnavailable)) throw cause
        throw new Unavailable('The keys of the authorization server cannot be fetched now; try again.', {
          cause,
        })
      }
    },
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

function createFetchJson({ outgoing }: Pick<HubBase, 'outgoing'>): FetchJson {
  return async ({ url, form, authorization }) => {
    const { status, body } = await outgoing.request({
      url,
      method: form ? 'POST' : 'GET',
      headers: {
        accept: 'application/json',
        ...(form && { 'content-type': 'application/x-www-form-urlencoded' }),
        ...(authorization && { authorization }),
      },
      ...(form && { body: new URLSearchParams(form).toString() }),
      deadlineMs: DEADLINE_MS,
      pool: 'metadata',
    })
    return { status, body: status === 200 ? JSON.parse(body.toString('utf8')) : undefined }
  }
}
