import { readFileSync } from 'node:fs'
import { ALERT_API } from './alerts/alert-api.js'
import { AUDIT_API } from './audit/audit-api.js'
import { authorizationApi } from './auth/authorization-api.js'
import { OAUTH_PATHS } from './auth/authorization-metadata.js'
import { OPERATOR_API } from './auth/operator-api.js'
import { RECEIVER_API } from './auth/receiver-api.js'
import { HELD_BY_ALL } from './auth/roles.js'
import { PARKED_API, pollRoute } from './delivery/delivery-api.js'
import { ERASURE_API } from './delivery/erasure-api.js'
import { ENFORCEMENT_API } from './enforcement/enforcement-api.js'
import { HISTORY_ROUTES } from './enforcement/history-api.js'
import type { ApiSection } from './http/api-description.js'
import { API_DOCS_API } from './http/api-docs-router.js'
import { MANAGEMENT_API } from './http/management-api.js'
import { type OpenApiDocument, openApiDocument } from './http/openapi.js'
import { EMIT_ROUTE } from './ingest/event-api.js'
import { ingestApi } from './ingest/ingest-api.js'
import { TRANSMITTER_API } from './ingest/transmitter-api.js'
import { issuerPath } from './kernel/issuer-url.js'
import { KEY_API } from './keys/key-api.js'
import { readSchema } from './secevent/validate-event.js'
import { EVENT_TYPE_API } from './streams/event-type-api.js'
import { ssfApi } from './streams/ssf-api.js'
import { STREAM_API } from './streams/stream-operator-api.js'

/** Of `schemas/`: what SETs hold. */
const SCHEMAS = ['security-event-token', 'subject', 'caep-events', 'risc-events', 'scim-events', 'ssf-events']

const DESCRIPTION = `A shared-signals hub. Paths under /v1 stand at the root of the host, those of SSF, OAuth and ingest below the issuer's path.
JSON is snake_case, times are RFC 3339 in UTC with milliseconds, durations carry their unit. Lists take limit and cursor. Every answer has an X-Request-Id, by which the log has it, but ingest's and those of a hub that is starting.
The names beside \`operator\` and \`receiver\` are the permission that the role must hold, and the scope that the token must have.`

export interface DescribedHub {
  readonly issuer: string
  /** The authorization server whose tokens receivers bring; default: the hub's own. */
  readonly oauthIssuer?: string | undefined
}

/** OpenAPI of all that a hub with these settings serves, ingest and the management port included. */
export function describeHub(hub: DescribedHub): OpenApiDocument {
  return openApiDocument({
    title: 'Firebreak',
    version: hubVersion(),
    description: DESCRIPTION,
    sections: sections(hub),
    heldByAll: HELD_BY_ALL,
    ...(!hub.oauthIssuer && { tokenPath: issuerPath(hub.issuer) + OAUTH_PATHS.token }),
    schemas: Object.fromEntries(SCHEMAS.map((name) => [name, readSchema(name)])),
  })
}

/** In the order of a reader's interest. */
function sections({ issuer, oauthIssuer }: DescribedHub): ApiSection[] {
  const ssf = ssfApi(issuer)
  return [
    { ...ssf, routes: [...ssf.routes, pollRoute(issuerPath(issuer))] },
    authorizationApi(issuer, oauthIssuer),
    ingestApi(issuerPath(issuer)),
    TRANSMITTER_API,
    RECEIVER_API,
    STREAM_API,
    {
      name: 'Events',
      description: 'What came in, and where it went.',
      routes: [EMIT_ROUTE, ...HISTORY_ROUTES],
    },
    EVENT_TYPE_API,
    PARKED_API,
    ERASURE_API,
    ENFORCEMENT_API,
    ALERT_API,
    AUDIT_API,
    OPERATOR_API,
    KEY_API,
    API_DOCS_API,
    MANAGEMENT_API,
  ]
}

/** Of the package. */
export function hubVersion(): string {
  const file = new URL('../../package.json', import.meta.url)
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}
