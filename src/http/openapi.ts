import type { Access, ApiAnswer, ApiRoute, ApiSection, JsonSchema } from './api-description.js'

export interface OpenApiOptions {
  readonly title: string
  readonly version: string
  readonly description: string
  readonly sections: readonly ApiSection[]
  /** Permissions of every role: routes that ask for one refuse no operator. */
  readonly heldByAll: readonly string[]
  /** Of the hub's own token endpoint; absent when receivers bring tokens of another issuer. */
  readonly tokenPath?: string
  /** JSON Schemas by name, embedded as they are. */
  readonly schemas: Readonly<Record<string, unknown>>
}

export interface OpenApiDocument {
  readonly openapi: string
  readonly paths: Readonly<Record<string, Readonly<Record<string, unknown>>>>
  readonly [member: string]: unknown
}

/** Fixed texts of the error form, by status. */
const ERROR_HEADERS: Readonly<Record<number, Readonly<Record<string, string>>>> = {
  401: { 'WWW-Authenticate': 'The challenge (RFC 6750 §3).' },
  405: { Allow: 'The methods that the path takes.' },
  408: { 'Retry-After': 'Seconds to wait.' },
  429: { 'Retry-After': 'Seconds to wait.' },
  503: { 'Retry-After': 'Seconds to wait.' },
}

const SECURITY_SCHEMES = {
  operator: { type: 'http', scheme: 'bearer', description: 'A token of an operator. Its role decides.' },
  client: { type: 'http', scheme: 'basic', description: 'A receiver at the authorization server.' },
  transmitter: {
    type: 'apiKey',
    in: 'header',
    name: 'Authorization',
    description: 'The authorization_header that the transmitter was registered with, if it was.',
  },
}

function receiverScheme(tokenPath: string | undefined): object {
  if (tokenPath === undefined) {
    return {
      type: 'http',
      scheme: 'bearer',
      description: 'A token of a receiver, from its issuer or made by an operator.',
    }
  }
  return {
    type: 'oauth2',
    description: 'A token of a receiver, from the token endpoint or made by an operator.',
    flows: {
      clientCredentials: {
        tokenUrl: tokenPath,
        scopes: {
          'ssf.read': 'Read streams, poll, acknowledge.',
          'ssf.manage': 'Change streams too; includes ssf.read.',
        },
      },
    },
  }
}

/** The management port has no place in the URL of the rest. */
const MANAGEMENT_SERVER = {
  url: 'http://{host}:{port}',
  description: 'The management port',
  variables: {
    host: { default: '127.0.0.1', description: 'MANAGEMENT_HOST' },
    port: { default: '9090', description: 'MANAGEMENT_PORT' },
  },
}

/** OpenAPI 3.1 of all sections. Titled schemas are told once, as components; everything else stands as it is given. */
export function openApiDocument(options: OpenApiOptions): OpenApiDocument {
  const components = createComponents(options.schemas)
  const paths: Record<string, Record<string, unknown>> = {}
  for (const { name, routes, management } of options.sections) {
    for (const route of routes) {
      const item = paths[route.path] ?? (management ? { servers: [MANAGEMENT_SERVER] } : {})
      if (item[route.method]) throw new Error(`${route.method} ${route.path} is described twice`)
      item[route.method] = operationOf(route, { tag: name, components, heldByAll: options.heldByAll })
      paths[route.path] = item
    }
  }
  return {
    openapi: '3.1.1',
    info: {
      title: options.title,
      version: options.version,
      description: options.description,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    tags: options.sections.map(({ name, description }) => ({ name, description })),
    paths,
    components: {
      schemas: components.schemas,
      responses: components.responses,
      securitySchemes: { ...SECURITY_SCHEMES, receiver: receiverScheme(options.tokenPath) },
    },
  }
}

interface Surroundings {
  readonly tag: string
  readonly components: Components
  readonly heldByAll: readonly string[]
}

function operationOf(route: ApiRoute, { tag, components, heldByAll }: Surroundings): object {
  const { query, body, bodyType = 'application/json' } = route
  const parameters = [...pathParameters(route.path), ...queryParameters(query, components)]
  return {
    operationId: route.id,
    tags: [tag],
    summary: route.summary,
    description: [route.description, callersOf(route.access)].filter(Boolean).join('\n\n'),
    security: securityOf(route.access),
    ...(parameters.length > 0 && { parameters }),
    ...(body && {
      requestBody: {
        required: route.bodyOptional !== true,
        content: { [bodyType]: { schema: components.schemaOf(body) } },
      },
    }),
    responses: {
      ...Object.fromEntries(
        Object.entries(errorsOf(route, heldByAll)).map(([status, codes]) => [
          status,
          components.errorOf(Number(status), codes),
        ]),
      ),
      ...Object.fromEntries(
        Object.entries(route.answers).map(([status, answer]) => [status, answerOf(answer, components)]),
      ),
    },
  }
}

function securityOf(access: Access): object[] {
  if (access === 'public') return []
  if (typeof access === 'string') return [{ [access]: [] }]
  return [
    ...(access.permission === undefined ? [] : [{ operator: [access.permission] }]),
    ...(access.scope === undefined ? [] : [{ receiver: [access.scope] }]),
  ]
}

/** Viewers show a lock, and not what opens it. */
function callersOf(access: Access): string {
  if (access === 'public') return 'Anyone may call this.'
  if (access === 'client') return 'Clients call this, authenticated as they are registered.'
  if (access === 'transmitter') return 'Transmitters call this, authenticated as they are registered.'
  const callers = [
    access.permission !== undefined && `operators whose role holds \`${access.permission}\``,
    access.scope !== undefined && `receivers whose token has the scope \`${access.scope}\``,
  ]
  return `For ${callers.filter(Boolean).join(', and for ')}.`
}

/** The error answers that follow from how a route is guarded and what it reads, and those it names itself. */
function errorsOf(route: ApiRoute, heldByAll: readonly string[]): Record<number, string[]> {
  const errors: Record<number, string[]> = {}
  const add = (status: number, ...codes: string[]) => {
    errors[status] = [...new Set([...(errors[status] ?? []), ...codes])].sort()
  }
  add(500, 'ERR_INTERNAL')
  add(503, 'ERR_UNAVAILABLE')
  if (typeof route.access === 'object') {
    add(400, 'ERR_MALFORMED_CREDENTIALS')
    add(401, 'ERR_UNAUTHENTICATED', 'ERR_INVALID_TOKEN')
    const { permission, scope } = route.access
    if (scope !== undefined || (permission && !heldByAll.includes(permission))) add(403, 'ERR_FORBIDDEN')
    add(429, 'ERR_TOO_MANY_REQUESTS')
  }
  if (route.query || route.body || route.path.includes('{')) add(400, 'ERR_INVALID_REQUEST')
  if (route.path.includes('{')) add(404, 'ERR_NOT_FOUND')
  if (route.body) add(413, 'ERR_TOO_LARGE')
  for (const [status, codes] of Object.entries(route.errors ?? {})) add(Number(status), ...codes)
  return errors
}

function pathParameters(path: string): object[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }))
}

function queryParameters(query: JsonSchema | undefined, components: Components): object[] {
  const { properties = {}, required = [] } = (query ?? {}) as {
    properties?: Record<string, JsonSchema>
    required?: readonly string[]
  }
  return Object.entries(properties).map(([name, schema]) => ({
    name,
    in: 'query',
    required: required.includes(name),
    schema: components.schemaOf(schema),
  }))
}

function answerOf(answer: ApiAnswer, components: Components): object {
  const { description, schema, type = 'application/json', headers } = answer
  return {
    description,
    ...(headers && { headers: headersOf(headers) }),
    ...(schema && { content: { [type]: { schema: components.schemaOf(schema) } } }),
  }
}

function headersOf(headers: Readonly<Record<string, string>>): object {
  return Object.fromEntries(
    Object.entries(headers).map(([name, description]) => [
      name,
      { description, required: true, schema: { type: 'string' } },
    ]),
  )
}

interface Components {
  readonly schemas: Record<string, unknown>
  readonly responses: Record<string, unknown>
  /** The schema, or a reference to it when it has a name. */
  schemaOf(schema: JsonSchema): unknown
  errorOf(status: number, codes: readonly string[]): object
}

/** Values, not schemas. */
const VALUES = new Set(['const', 'enum', 'default', 'examples'])

function createComponents(embedded: Readonly<Record<string, unknown>>): Components {
  const schemas: Record<string, unknown> = { ...embedded }
  const responses: Record<string, unknown> = {}
  const named = new Map<string, JsonSchema>()

  function copy(value: unknown): unknown {
    if (Array.isArray(value)) return value.map(reference)
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(
      Object.entries(value).map(([key, member]) => [key, VALUES.has(key) ? member : reference(member)]),
    )
  }

  function reference(value: unknown): unknown {
    const title = (value as JsonSchema | null)?.title
    if (typeof title !== 'string' || !/^[A-Z][A-Za-z]+$/.test(title)) return copy(value)
    const known = named.get(title)
    if (known && known !== value) throw new Error(`two schemas have the title ${title}`)
    if (!known) {
      named.set(title, value as JsonSchema)
      schemas[title] = copy(value)
    }
    return { $ref: `#/components/schemas/${title}` }
  }

  return {
    schemas,
    responses,
    schemaOf: reference,
    errorOf(status, codes) {
      const name = [status, ...codes].join('.')
      const headers = ERROR_HEADERS[status]
      responses[name] ??= {
        description: codes.join(' or '),
        ...(headers && { headers: headersOf(headers) }),
        content: { 'application/json': { schema: errorSchema(codes) } },
      }
      return { $ref: `#/components/responses/${name}` }
    },
  }
}

function errorSchema(codes: readonly string[]): JsonSchema {
  return {
    type: 'object',
    additionalProperties: false,
    required: ['code', 'message'],
    properties: { code: { enum: codes }, message: { type: 'string', minLength: 1 } },
  }
}
