import { Ajv2020, type ErrorObject, type Options, type ValidateFunction } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { InvalidRequest } from '../kernel/errors.js'
import { UNSTORABLE } from './body.js'

/** Larger values are told their first error only: collecting all of a million entries would hold the process. */
const MAX_NODES_FOR_ALL_ERRORS = 2_000

interface Checker {
  compile(schema: object): { first: ValidateFunction; all: ValidateFunction }
}

const bodies = createChecker({ allowUnionTypes: true })
// Query strings are text: numbers and booleans are read out of it.
const queries = createChecker({ allowUnionTypes: true, coerceTypes: true })

function createChecker(options: Options): Checker {
  const first = new Ajv2020(options)
  const all = new Ajv2020({ ...options, allErrors: true })
  addFormats.default(first)
  addFormats.default(all)
  const compiled = new WeakMap<object, { first: ValidateFunction; all: ValidateFunction }>()
  return {
    compile(schema) {
      const known = compiled.get(schema)
      if (known) return known
      const made = { first: first.compile(schema), all: all.compile(schema) }
      compiled.set(schema, made)
      return made
    },
  }
}

/**
 * Checks a parsed JSON body against a JSON Schema (draft 2020-12, as OpenAPI 3.1 has it). The schema is compiled once, so pass a constant.
 * @throws InvalidRequest that names everything that is wrong; in a body of thousands of values only the first
 */
export function parseBody<T>(schema: object, body: unknown): T {
  if (body === undefined) throw new InvalidRequest('The request has no body; send one JSON object.')
  return check<T>(bodies, schema, body)
}

/** Checks `req.query`; numbers and booleans of the schema are read from text. @throws InvalidRequest */
export function parseQuery<T>(schema: object, query: unknown): T {
  for (const [name, value] of Object.entries(query as object)) {
    if ([value].flat().some((text) => typeof text === 'string' && UNSTORABLE.test(text))) {
      throw new InvalidRequest(`${clip(name)} holds U+0000 or half of a surrogate pair; remove it.`)
    }
  }
  return check<T>(queries, schema, { ...(query as object) })
}

/** A space for the T is what JSON Schema's `date-time` lets pass. */
const RFC_3339 = /^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:[Zz]|([+-])(\d{2}):(\d{2}))$/

/**
 * Reads an RFC 3339 time of a body or a query, whether a schema has looked at it or not. Years that PostgreSQL does not have
 * and leap seconds, which a Date does not know, are refused.
 * @throws InvalidRequest that names the member
 */
export function parseTime(name: string, text: string): Date {
  const match = RFC_3339.exec(text)
  const time = new Date(match ? text.toUpperCase() : Number.NaN)
  // In UTC: what is written as year 1 or 9999 may be in the one before or after.
  if (!match || Number.isNaN(time.getTime()) || !/^(?!0000)\d{4}-/.test(time.toISOString()))
    throw noTime(name)
  const [, sign = '+', hours = 0, minutes = 0] = match
  const shiftMs = (Number(hours) * 60 + Number(minutes)) * (sign === '-' ? -60_000 : 60_000)
  // 2026-02-31 parses as 3 March: the day must come back as it was written.
  if (new Date(time.getTime() + shiftMs).toISOString().slice(0, 10) !== text.slice(0, 10)) throw noTime(name)
  return time
}

const noTime = (name: string) =>
  new InvalidRequest(
    `${name} must be an RFC 3339 time such as 2026-11-22T08:00:00.000Z, of the years 1 to 9999 and without a leap second (in a query write a + as %2B).`,
  )

function check<T>(checker: Checker, schema: object, value: unknown): T {
  const { first, all } = checker.compile(schema)
  if (first(value)) return value as T
  if (hasAtMost(MAX_NODES_FOR_ALL_ERRORS, value) && !all(value)) {
    throw new InvalidRequest(describeErrors(all.errors ?? []))
  }
  throw new InvalidRequest(describeErrors(first.errors ?? []))
}

/** If a value holds no more than so many values; stops counting as soon as that is known. */
function hasAtMost(limit: number, value: unknown): boolean {
  const open = [value]
  let seen = 0
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    seen += 1
    if (typeof next !== 'object' || next === null) continue
    if (Array.isArray(next) && next.length > limit) return false
    for (const key in next) {
      open.push((next as Record<string, unknown>)[key] ?? null)
      if (seen + open.length > limit) return false
    }
  }
  return true
}

/** One sentence for all errors, each naming the member: `name is required; grants.colour is not known here`. */
function describeErrors(errors: readonly ErrorObject[]): string {
  const texts = errors.map(describe).filter((text) => text !== undefined)
  return `${[...new Set(texts)].slice(0, 20).join('; ')}.`
}

function describe(error: ErrorObject): string | undefined {
  const place = error.instancePath.slice(1).replaceAll('/', '.').replaceAll('~1', '/').replaceAll('~0', '~')
  const name = place || 'the body'
  const member = (key: unknown) => clip(place ? `${place}.${key}` : String(key))
  switch (error.keyword) {
    case 'required':
      return `${member(error.params.missingProperty)} is required`
    case 'additionalProperties':
      return `${member(error.params.additionalProperty)} is not known here`
    case 'enum':
      return `${clip(name)} must be one of ${(error.params.allowedValues as unknown[]).map(String).join(', ')}`
    case 'const':
      return `${clip(name)} must be ${JSON.stringify(error.params.allowedValue)}`
    case 'false schema':
      return `${clip(name)} does not go with the other members`
    case 'if':
      // Says only that a condition held; the errors beside it say what is wrong.
      return undefined
    default:
      return `${clip(name)} ${describeRule(error)}`
  }
}

const TYPE_WORDS: Readonly<Record<string, string>> = {
  object: 'a JSON object',
  array: 'a JSON array',
  string: 'text',
  integer: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
  null: 'null',
}

const FORMAT_WORDS: Readonly<Record<string, string>> = {
  'date-time': 'a time like 2026-01-31T12:00:00Z',
  uri: 'an absolute URI',
  uuid: 'a UUID',
}

/** What a value has to be, in words; ajv's own text only for rules that need none of ours. */
function describeRule({ keyword, params, message }: ErrorObject): string {
  const { limit } = params as { limit?: number }
  const counted = (thing: string, many = `${thing}s`) => `${limit} ${limit === 1 ? thing : many}`
  switch (keyword) {
    case 'type':
      return `must be ${[params.type].flat().map(typeWords).join(' or ')}`
    case 'format':
      return `must be ${FORMAT_WORDS[params.format] ?? `of the format ${params.format}`}`
    case 'minProperties':
      return `must have at least ${counted('member')}`
    case 'maxProperties':
      return `must have at most ${counted('member')}`
    case 'minItems':
      return `must have at least ${counted('entry', 'entries')}`
    case 'maxItems':
      return `must have at most ${counted('entry', 'entries')}`
    case 'minLength':
      return `must have at least ${counted('character')}`
    case 'maxLength':
      return `must have at most ${counted('character')}`
    case 'minimum':
      return `must be ${limit} or more`
    case 'maximum':
      return `must be ${limit} or less`
    case 'uniqueItems':
      return 'must name nothing twice'
    default:
      return message ?? 'is not valid'
  }
}

const typeWords = (type: string): string => TYPE_WORDS[type] ?? type

/** A caller's own member name comes back to it, but not megabytes of it. */
function clip(text: string): string {
  return text.length > 100 ? `${text.slice(0, 100)}…` : text
}
