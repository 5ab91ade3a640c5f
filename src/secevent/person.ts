import { isJsonObject } from './canonical-json.js'
import type { Subject } from './event.js'
import { canonicalSubject } from './subject.js'

/** Somebody by one or more identifiers, to be found in what is stored. */
export interface Person {
  /** The subject is one of the identifiers, or has one as a member or alias. */
  isIn(subject: Subject): boolean
  /** Some text in this JSON value, a name or a value, gives one of the identifiers. */
  isNamedBy(value: unknown): boolean
}

/** Shorter ones stand in too much that is about others. */
const MIN_WITHIN = 6
const MIN_WHOLE = 8

/** What each format is known by: inside other text, or only as the whole of it. */
const TEXTS: Readonly<Record<string, { within?: readonly string[]; whole?: readonly string[] }>> = {
  email: { within: ['email'] },
  phone_number: { within: ['phone_number'] },
  account: { within: ['uri'] },
  did: { within: ['url'] },
  uri: { within: ['uri'] },
  iss_sub: { whole: ['sub'] },
  opaque: { whole: ['id'] },
  jwt_id: { whole: ['jti'] },
  saml_assertion_id: { whole: ['assertion_id'] },
  scim: { whole: ['uri', 'externalId', 'id'] },
}

/** The identifiers by which a subject is looked for: its aliases one by one, or itself. */
export function identifiersOf(subject: Subject): readonly Subject[] {
  return subject.format === 'aliases' ? (subject.identifiers as Subject[]) : [subject]
}

/** @param identifiers simple subjects, parsed */
export function createPerson(identifiers: readonly Subject[]): Person {
  const canonical = new Set(identifiers.map(canonicalSubject))
  const texts = (kind: 'within' | 'whole', least: number): string[] =>
    identifiers
      .flatMap((subject) => (TEXTS[subject.format]?.[kind] ?? []).map((member) => subject[member]))
      .filter((text): text is string => typeof text === 'string')
      .map((text) => text.toLowerCase().replace(/^acct:/, ''))
      .filter((text) => text.length >= least)
  const within = texts('within', MIN_WITHIN)
  const whole = new Set(texts('whole', MIN_WHOLE))
  const names = (text: string): boolean => {
    const lower = text.toLowerCase()
    return whole.has(lower) || within.some((identifier) => standsIn(lower, identifier))
  }

  function isNamedBy(value: unknown): boolean {
    if (typeof value === 'string') return names(value)
    if (Array.isArray(value)) return value.some(isNamedBy)
    return isJsonObject(value) && Object.entries(value).some(([name, held]) => names(name) || isNamedBy(held))
  }

  return {
    isIn(subject) {
      if (subject.format === 'aliases')
        return identifiersOf(subject).some((one) => canonical.has(canonicalSubject(one)))
      if (subject.format !== 'complex') return canonical.has(canonicalSubject(subject))
      return Object.values(subject).some(
        (member) => isJsonObject(member) && canonical.has(canonicalSubject(member as Subject)),
      )
    },
    isNamedBy,
  }
}

const BEFORE = /[\p{L}\p{N}._%+-]$/u
const AFTER = /^([\p{L}\p{N}_%+@-]|\.[\p{L}\p{N}])/u

/** As a whole: `al@example.com` does not stand in `hal@example.com`, nor in `al@example.community`. */
function standsIn(text: string, identifier: string): boolean {
  for (let at = text.indexOf(identifier); at >= 0; at = text.indexOf(identifier, at + 1)) {
    const end = at + identifier.length
    if (!BEFORE.test(text.slice(Math.max(0, at - 2), at)) && !AFTER.test(text.slice(end, end + 3)))
      return true
  }
  return false
}
