import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import { isJsonObject } from './canonical-json.js'

/** Of the schema as JSON text. */
const MAX_SCHEMA_CHARS = 16_384
const MAX_SUBSCHEMAS = 200
const MAX_DEPTH = 10
/** Of all `enum` lists together: each is compared with in turn. */
const MAX_ENUM_VALUES = 100
const DIALECT = 'https://json-schema.org/draft/2020-12/schema'

/**
 * Keywords whose cost is at most one step for each pair of subschema (or `enum` value) and value. Left out: what brings a regular
 * expression (`pattern`, `patternProperties`, `format`: some take for ever), what calls itself or others (`$ref`,
 * `$dynamicRef`, `$defs`), and what compares every item with every other (`uniqueItems`).
 */
const ANNOTATIONS = ['$schema', 'title', 'description', 'examples', '$comment']
const VALUES = ['type', 'const', 'enum', 'required']
const BOUNDS = [
  'minLength',
  'maxLength',
  'minimum',
  'maximum',
  'exclusiveMinimum',
  'exclusiveMaximum',
  'minItems',
  'maxItems',
  'minProperties',
  'maxProperties',
]
/** Hold one schema; `additionalProperties` may be a plain boolean. */
const ONE_SCHEMA = ['additionalProperties', 'items', 'propertyNames', 'not']
const SCHEMA_LISTS = ['anyOf', 'oneOf', 'allOf', 'prefixItems']
const ALLOWED: ReadonlySet<string> = new Set([
  ...ANNOTATIONS,
  ...VALUES,
  ...BOUNDS,
  ...ONE_SCHEMA,
  ...SCHEMA_LISTS,
  'properties',
])

/** What keeps a schema from being registered, as sentences; empty when nothing does. */
export function schemaProblems(schema: unknown): string[] {
  if (!isJsonObject(schema)) return ['schema must be a JSON object.']
  if (JSON.stringify(schema).length > MAX_SCHEMA_CHARS) {
    return [`schema may have at most ${MAX_SCHEMA_CHARS} characters.`]
  }
  const problems = new Set<string>()
  if (schema.type !== 'object') problems.add('schema must say "type": "object", for an event is one.')
  if (schema.$schema !== undefined && schema.$schema !== DIALECT) {
    problems.add(`schema must be JSON Schema 2020-12: "$schema": "${DIALECT}", or none.`)
  }
  let count = 0
  let enumValues = 0
  function visit(value: unknown, depth: number): void {
    count += 1
    if (depth > MAX_DEPTH) problems.add(`schema may be nested ${MAX_DEPTH} levels deep.`)
    // Booleans are schemas too; anything else is for the compiler to refuse.
    if (!isJsonObject(value) || depth > MAX_DEPTH) return
    for (const [keyword, held] of Object.entries(value)) {
      if (!ALLOWED.has(keyword)) problems.add(`schema may not use ${keyword.slice(0, 100)}.`)
      else if (keyword === 'enum' && Array.isArray(held)) enumValues += held.length
      else if (keyword === 'properties' && isJsonObject(held)) {
        for (const member of Object.values(held)) visit(member, depth + 1)
      } else if (ONE_SCHEMA.includes(keyword)) visit(held, depth + 1)
      else if (SCHEMA_LISTS.includes(keyword) && Array.isArray(held)) {
        for (const member of held) visit(member, depth + 1)
      }
    }
  }
  visit(schema, 1)
  if (count > MAX_SUBSCHEMAS) problems.add(`schema may hold at most ${MAX_SUBSCHEMAS} schemas.`)
  if (enumValues > MAX_ENUM_VALUES) {
    problems.add(`schema may list at most ${MAX_ENUM_VALUES} values in enum, all told.`)
  }
  return problems.size > 0 ? [...problems] : compileProblems(schema)
}

function compileProblems(schema: object): string[] {
  try {
    compileSchema(schema)
    return []
  } catch (error) {
    return [`schema is not valid: ${(error as Error).message.slice(0, 500)}.`]
  }
}

/**
 * A compiler of its own for each schema, so that nothing of it stays when the type is gone. It looks no further than the
 * first problem: each item of a long array can have one for each subschema, and together they would fill the memory.
 */
export function compileSchema(schema: object): ValidateFunction {
  return new Ajv2020({
    allErrors: false,
    // Unknown keywords are refused; of the rest of strict mode nothing makes a schema safer.
    strictSchema: true,
    strictTypes: false,
    strictTuples: false,
    logger: false,
  }).compile(schema)
}
