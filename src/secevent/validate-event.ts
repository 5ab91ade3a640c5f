import { readFileSync } from 'node:fs'
import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js'
import { isJsonObject } from './canonical-json.js'
import { compileSchema } from './custom-schema.js'
import type { Subject } from './event.js'
import {
  BUILT_IN_EVENT_TYPES,
  type EventTypeInfo,
  type EventTypes,
  isOpenIdType,
  RISC,
  SSF,
} from './event-types.js'
import { MAX_EPOCH_SECONDS } from './security-event.js'

interface EventSchema {
  readonly properties: Readonly<Record<string, unknown>>
  additionalProperties?: boolean
}

interface SchemaFamily {
  $id: string
  readonly $defs: Record<string, EventSchema>
}

const families = new Map<string, SchemaFamily>()
const ajv = new Ajv2020({ allErrors: true, strict: true })
const compiled = new Map<string, ValidateFunction>()

/** The schemas are read on first use, so that a command that validates nothing does not pay for them. */
function familyOf(info: EventTypeInfo): SchemaFamily {
  const name = `${info.family.toLowerCase()}-events`
  let family = families.get(name)
  if (!family) {
    family = readSchema(name) as SchemaFamily
    families.set(name, family)
    ajv.addSchema(family)
    ajv.addSchema(opened(family))
  }
  return family
}

/** One of `schemas/*.json`, by name without ending. */
export function readSchema(name: string): unknown {
  // From dist/src/secevent to the package's schemas folder.
  return JSON.parse(readFileSync(new URL(`../../../schemas/${name}.json`, import.meta.url), 'utf8'))
}

/** What we receive may have members we do not know (SSF 1.0 §4.2.3): the same schemas, open. */
function opened(family: SchemaFamily): SchemaFamily {
  const copy = structuredClone(family)
  copy.$id += OPEN
  for (const schema of Object.values(copy.$defs)) {
    if (schema.additionalProperties === false) delete schema.additionalProperties
  }
  return copy
}

const OPEN = ':received'

function validator(info: EventTypeInfo, variant: '' | typeof OPEN): ValidateFunction | undefined {
  return info.family === 'custom' ? customValidator(info, variant) : builtInValidator(info, variant)
}

/** By the info itself: a type that is registered anew with another schema is another one. */
const custom = {
  '': new WeakMap<object, ValidateFunction>(),
  [OPEN]: new WeakMap<object, ValidateFunction>(),
}

function customValidator(info: EventTypeInfo, variant: '' | typeof OPEN): ValidateFunction | undefined {
  if (!info.schema) return undefined
  const known = custom[variant].get(info)
  if (known) return known
  const { additionalProperties, ...rest } = info.schema as { additionalProperties?: unknown }
  const opens = variant === OPEN && additionalProperties === false
  const validate = compileSchema(opens ? rest : info.schema)
  custom[variant].set(info, validate)
  return validate
}

function builtInValidator(info: EventTypeInfo, variant: '' | typeof OPEN): ValidateFunction {
  const key = info.type + variant
  let validate = compiled.get(key)
  if (!validate) {
    validate = ajv.compile({
      $ref: `${familyOf(info).$id}${variant}#/$defs/${info.name.replaceAll(':', '-')}`,
    })
    compiled.set(key, validate)
  }
  return validate
}

/**
 * What keeps an event from being emitted, as sentences for its author: of a registered schema the first fault, else up
 * to 20; empty when nothing does. Closed: only
 * members that the type's specification declares. `event_timestamp` may always be given, for it dates the event in
 * the hub; minting leaves it out where a CAEP, RISC or SSF type does not declare it.
 */
export function validateEmitted(
  type: string,
  { claims, subject }: { claims: unknown; subject: Subject },
  types: EventTypes = BUILT_IN_EVENT_TYPES,
): string[] {
  const info = types.get(type)
  if (!info) return [`The event type ${type} is not one the hub can emit.`]
  const problems = subjectProblems(type, subject)
  if (!isJsonObject(claims)) return [...problems, 'The event must be a JSON object.']
  const { event_timestamp: stamp, ...rest } = claims
  if (stamp === undefined || declaresTimestamp(info))
    return [...problems, ...problemsOf(validator(info, ''), claims)]
  if (!(typeof stamp === 'number' && stamp >= 0 && stamp < MAX_EPOCH_SECONDS)) {
    problems.push('/event_timestamp must be in seconds since 1970.')
  }
  return [...problems, ...problemsOf(validator(info, ''), rest)]
}

function declaresTimestamp(info: EventTypeInfo): boolean {
  const members = info.schema
    ? Object.keys((info.schema as Partial<EventSchema>).properties ?? {})
    : (declaredMembers(info.type) ?? [])
  return [...members].includes('event_timestamp')
}

/** What is odd about a received payload; empty when nothing is, and for types the hub does not know. */
export function validateReceived(
  type: string,
  claims: unknown,
  types: EventTypes = BUILT_IN_EVENT_TYPES,
): string[] {
  const info = types.get(type)
  return info ? problemsOf(validator(info, OPEN), claims) : []
}

/** Members that the specification of a CAEP, RISC or SSF type declares; undefined for every other type. */
export function declaredMembers(type: string): ReadonlySet<string> | undefined {
  const known = declared.get(type)
  const info = BUILT_IN_EVENT_TYPES.get(type)
  if (known || !info || !isOpenIdType(type)) return known
  const members = new Set(Object.keys(familyOf(info).$defs[info.name]?.properties ?? {}))
  declared.set(type, members)
  return members
}

const declared = new Map<string, ReadonlySet<string>>()

/** Formats that a type's specification demands of its subject: RISC 1.0 §2.5, §2.6; SSF 1.0 §8.1.4.1, §8.1.5. */
const SUBJECT_FORMATS: ReadonlyMap<string, readonly string[]> = new Map([
  [RISC.identifierChanged, ['email', 'phone_number']],
  [RISC.identifierRecycled, ['email', 'phone_number']],
  [SSF.verification, ['opaque']],
  [SSF.streamUpdated, ['opaque']],
])

/** Whether the subject's format is one the event type allows, as sentences. */
export function subjectProblems(type: string, subject: Subject): string[] {
  const formats = SUBJECT_FORMATS.get(type)
  if (!formats || formats.includes(subject.format)) return []
  return [`The subject of this event type must be of format ${formats.join(' or ')}.`]
}

/** Of one event, and of the values that one of them lists: an answer is to be read. */
const MAX_PROBLEMS = 20
const MAX_CHARS = 200

function problemsOf(validate: ValidateFunction | undefined, claims: unknown): string[] {
  if (!validate || validate(claims)) return []
  return (validate.errors ?? []).slice(0, MAX_PROBLEMS).map(describe)
}

function describe(error: ErrorObject): string {
  const where = shortened(error.instancePath) || 'The event'
  const params = error.params as Record<string, unknown>
  if (error.keyword === 'additionalProperties') {
    return `${where} must not have the member "${shortened(String(params.additionalProperty))}".`
  }
  if (error.keyword === 'enum') {
    return `${where} must be one of ${shortened((params.allowedValues as unknown[]).join(', '))}.`
  }
  return `${where} ${shortened(error.message ?? 'is not valid')}.`
}

const shortened = (text: string): string => (text.length > MAX_CHARS ? `${text.slice(0, MAX_CHARS)}…` : text)
