import { issuerPath } from '../kernel/issuer-url.js'

/** Where the authorization server's endpoints are, below the issuer. */
export const OAUTH_PATHS = {
  token: '/oauth/token',
  introspection: '/oauth/introspect',
  revocation: '/oauth/revoke',
} as const

const AUTH_METHODS = ['client_secret_basic', 'client_secret_post', 'private_key_jwt']
export const KEY_ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA'] as const

/** RFC 8414 §3.1: the well-known part is inserted between host and the issuer's path. */
export function wellKnownPath(issuer: string, name = 'oauth-authorization-server'): string {
  return `/.well-known/${name}${issuerPath(issuer)}`
}

/** Where the metadata of an authorization server are. */
export const wellKnownUrl = (issuer: string): string => new URL(issuer).origin + wellKnownPath(issuer)

/** RFC 9728 §2: who issues the tokens that are good here. */
export function resourceMetadata(issuer: string, authorizationServer: string): Record<string, unknown> {
  return {
    resource: issuer,
    authorization_servers: [authorizationServer],
    scopes_supported: ['ssf.read', 'ssf.manage'],
    bearer_methods_supported: ['header'],
  }
}

/** RFC 8414 §2. `response_types_supported` is required there, and empty: there is no authorization endpoint. */
export function serverMetadata(issuer: string): Record<string, unknown> {
  const base = issuer.replace(/\/$/, '')
  const methods = (endpoint: string) => ({
    [`${endpoint}_endpoint_auth_methods_supported`]: AUTH_METHODS,
    [`${endpoint}_endpoint_auth_signing_alg_values_supported`]: KEY_ALGORITHMS,
  })
  return {
    issuer,
    token_endpoint: base + OAUTH_PATHS.token,
    introspection_endpoint: base + OAUTH_PATHS.introspection,
    revocation_endpoint: base + OAUTH_PATHS.revocation,
    grant_types_supported: ['client_credentials'],
    response_types_supported: [],
    scopes_supported: ['ssf.read', 'ssf.manage'],
    ...methods('token'),
    ...methods('introspection'),
    ...methods('revocation'),
  }
}
