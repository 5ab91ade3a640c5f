import {
  type ApiAnswer,
  type ApiRoute,
  type ApiSection,
  COUNT,
  closed,
  TEXT,
} from '../http/api-description.js'
import { issuerPath } from '../kernel/issuer-url.js'
import { OAUTH_PATHS, wellKnownPath } from './authorization-metadata.js'

const LIST = { type: 'array', items: TEXT }
const METADATA = closed(
  {
    issuer: TEXT,
    token_endpoint: TEXT,
    introspection_endpoint: TEXT,
    revocation_endpoint: TEXT,
    grant_types_supported: LIST,
    response_types_supported: LIST,
    scopes_supported: LIST,
    ...Object.fromEntries(
      ['token', 'introspection', 'revocation'].flatMap((endpoint) => [
        [`${endpoint}_endpoint_auth_methods_supported`, LIST],
        [`${endpoint}_endpoint_auth_signing_alg_values_supported`, LIST],
      ]),
    ),
  },
  { title: 'AuthorizationServerMetadata' },
)

const RESOURCE_METADATA = closed(
  {
    resource: TEXT,
    authorization_servers: LIST,
    scopes_supported: LIST,
    bearer_methods_supported: LIST,
  },
  { title: 'ProtectedResourceMetadata' },
)

const CLIENT = {
  client_id: { ...TEXT, description: 'In the form, or by basic authentication.' },
  client_secret: TEXT,
  client_assertion_type: { const: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer' },
  client_assertion: { ...TEXT, description: 'RFC 7523, of a client of private_key_jwt.' },
}
const TOKEN_FORM = {
  type: 'object',
  required: ['grant_type', 'scope'],
  properties: {
    grant_type: { const: 'client_credentials' },
    scope: { ...TEXT, description: 'One or both of ssf.read and ssf.manage, with a space between.' },
    ...CLIENT,
  },
}
const ABOUT_TOKEN_FORM = {
  type: 'object',
  required: ['token'],
  properties: { token: TEXT, token_type_hint: TEXT, ...CLIENT },
}

const TOKEN = closed(
  { access_token: TEXT, expires_in: COUNT, token_type: { const: 'Bearer' }, scope: TEXT },
  { title: 'AccessToken' },
)
const INTROSPECTION = {
  title: 'Introspection',
  oneOf: [
    closed({ active: { const: false } }),
    closed({
      active: { const: true },
      client_id: TEXT,
      exp: COUNT,
      iat: COUNT,
      iss: TEXT,
      scope: TEXT,
      token_type: { const: 'Bearer' },
    }),
  ],
}

const OAUTH_ERROR = closed(
  { error: TEXT, error_description: TEXT, scope: { ...TEXT, description: 'What was asked for.' } },
  { title: 'OAuthError', optional: ['error_description', 'scope'] },
)
const RETRY_AFTER = { 'Retry-After': 'Seconds to wait.' }

/** RFC 6749 §5.2. */
const failures: Record<number, ApiAnswer> = {
  400: { description: 'RFC 6749 §5.2.', schema: OAUTH_ERROR },
  401: { description: 'invalid_client.', schema: OAUTH_ERROR },
  429: {
    description:
      'temporarily_unavailable: too many tokens of one client, or too many failures of one address.',
    schema: OAUTH_ERROR,
    headers: RETRY_AFTER,
  },
  500: { description: 'server_error.', schema: OAUTH_ERROR },
  503: {
    description: 'temporarily_unavailable, or the hub is starting.',
    schema: { oneOf: [OAUTH_ERROR, closed({ code: { const: 'ERR_UNAVAILABLE' }, message: TEXT })] },
    headers: RETRY_AFTER,
  },
}
const form = { access: 'client', bodyType: 'application/x-www-form-urlencoded' } as const

/** Told of `resourceMetadataRouter` and, unless another issuer takes its place, of `createAuthorizationServer`. */
export function authorizationApi(issuer: string, oauthIssuer?: string): ApiSection {
  return {
    name: 'OAuth 2.0',
    description: oauthIssuer
      ? `Receivers get their access tokens from ${oauthIssuer}.`
      : 'The authorization server for receivers: client credentials (RFC 6749 §4.4).',
    routes: [
      {
        id: 'getProtectedResourceMetadata',
        method: 'get',
        path: wellKnownPath(issuer, 'oauth-protected-resource'),
        summary: 'Whose access tokens are good here (RFC 9728)',
        access: 'public',
        answers: { 200: { description: 'The metadata.', schema: RESOURCE_METADATA } },
      },
      ...(oauthIssuer ? [] : serverRoutes(issuer)),
    ],
  }
}

function serverRoutes(issuer: string): ApiRoute[] {
  const below = (path: string) => issuerPath(issuer) + path
  return [
    {
      id: 'getAuthorizationServerMetadata',
      method: 'get',
      path: wellKnownPath(issuer),
      summary: 'Where the endpoints are (RFC 8414)',
      access: 'public',
      answers: { 200: { description: 'The metadata.', schema: METADATA } },
    },
    {
      ...form,
      id: 'requestToken',
      method: 'post',
      path: below(OAUTH_PATHS.token),
      summary: 'Get an access token',
      body: TOKEN_FORM,
      answers: { 200: { description: 'The token, for an hour at most.', schema: TOKEN }, ...failures },
    },
    {
      ...form,
      id: 'introspectToken',
      method: 'post',
      path: below(OAUTH_PATHS.introspection),
      summary: "Ask about one's own token (RFC 7662)",
      body: ABOUT_TOKEN_FORM,
      answers: { 200: { description: 'Whether it is active.', schema: INTROSPECTION }, ...failures },
    },
    {
      ...form,
      id: 'revokeToken',
      method: 'post',
      path: below(OAUTH_PATHS.revocation),
      summary: "End one's own token (RFC 7009)",
      body: ABOUT_TOKEN_FORM,
      answers: { 200: { description: 'It counts no more, if it was one.' }, ...failures },
    },
  ]
}
