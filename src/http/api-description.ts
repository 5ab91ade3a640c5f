/** A JSON Schema (draft 2020-12) as a constant. With a `title` in CamelCase it becomes a component of that name. */
export type JsonSchema = Readonly<Record<string, unknown>>

/**
 * Who may call: anyone; an operator whose role holds the permission; a receiver whose token has the scope; with both,
 * either. `client` authenticates at the authorization server (RFC 6749 §2.3), `transmitter` as it was registered.
 */
export type Access =
  | 'public'
  | 'client'
  | 'transmitter'
  | { readonly permission: string; readonly scope?: string }
  | { readonly permission?: string; readonly scope: string }

/** One answer. Without a schema it has no body. */
export interface ApiAnswer {
  readonly description: string
  /** Closed: what it does not name, the answer does not hold. */
  readonly schema?: JsonSchema
  /** Default `application/json`. */
  readonly type?: string
  /** Header name to what it says, of headers that are always there. */
  readonly headers?: Readonly<Record<string, string>>
}

/** One method on one path, told beside its router. */
export interface ApiRoute {
  /** Unique verb and noun: `createReceiver`. */
  readonly id: string
  readonly method: 'get' | 'post' | 'put' | 'patch' | 'delete'
  /** From the root of the host: `/v1/receivers/{id}`. */
  readonly path: string
  readonly summary: string
  readonly description?: string
  readonly access: Access
  /** The very object that `parseQuery` checks with. */
  readonly query?: JsonSchema
  /** The very object that `parseBody` checks with. */
  readonly body?: JsonSchema
  /** Default `application/json`. */
  readonly bodyType?: string
  readonly bodyOptional?: boolean
  /** By status. A status given here replaces the error answers that `openapi.ts` would give it. */
  readonly answers: Readonly<Record<number, ApiAnswer>>
  /** Codes by status beside those that follow from access, body and path. */
  readonly errors?: Readonly<Record<number, readonly string[]>>
}

/** Routes of one subject, as a reader looks for them. */
export interface ApiSection {
  readonly name: string
  readonly description: string
  readonly routes: readonly ApiRoute[]
  /** On the port of its own. */
  readonly management?: boolean
}

/** A closed object; all members but the optional ones are always there. */
export function closed(
  properties: Readonly<Record<string, JsonSchema>>,
  { title, optional = [] }: { title?: string; optional?: readonly string[] } = {},
): JsonSchema {
  return {
    ...(title !== undefined && { title }),
    type: 'object',
    additionalProperties: false,
    required: Object.keys(properties).filter((name) => !optional.includes(name)),
    properties,
  }
}

/** A list as `toPage` makes it. */
export function pageOf(items: JsonSchema): JsonSchema {
  return closed({
    items: { type: 'array', items },
    next: { type: ['string', 'null'], description: 'The cursor of the next page; null on the last.' },
  })
}

/** The same schema, or null. */
export const nullable = (schema: JsonSchema): JsonSchema => ({ anyOf: [schema, { type: 'null' }] })

export const TEXT: JsonSchema = { type: 'string' }
export const UUID: JsonSchema = { type: 'string', format: 'uuid' }
export const COUNT: JsonSchema = { type: 'integer', minimum: 0 }
/** RFC 3339 in UTC with milliseconds. */
export const TIME: JsonSchema = {
  type: 'string',
  format: 'date-time',
  pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z$',
}
export const TIME_OR_NULL = nullable(TIME)
export const TEXT_OR_NULL: JsonSchema = { type: ['string', 'null'] }
