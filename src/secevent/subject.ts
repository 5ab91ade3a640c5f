import { createHash } from 'node:crypto'
import { HubError } from '../kernel/errors.js'
import { canonicalJson, isJsonObject } from './canonical-json.js'
import { SLOT_COUNT, type Subject } from './event.js'
import {
  COMPLEX_MEMBERS,
  formatOf,
  parseAliases,
  parseComplex,
  parseSimple,
  SubjectProblem,
} from './subject-formats.js'
import type { Tolerated } from './tolerances.js'

/** The value is no subject identifier the hub can compare. */
export class InvalidSubject extends HubError {
  readonly code = 'ERR_INVALID_SUBJECT'
  readonly status = 400
}

/**
 * RFC 9493 §3, SSF 1.0 §3. Takes every registered format, `complex`, and formats agreed privately; older spellings
 * (`phone`, `jwt-id`, `subject_type`, complex without `format`) come out as the standards write them now.
 * Members that the format does not define are dropped. Throws InvalidSubject.
 * @param tolerated old spellings that were met are added here
 */
export function parseSubject(value: unknown, tolerated?: Set<Tolerated>): Subject {
  if (!isJsonObject(value)) throw new InvalidSubject('A subject must be an object with a "format" member.')
  try {
    const format = formatOf(value, tolerated)
    if (format === 'complex') return parseComplex(value, tolerated)
    if (format === 'aliases') return parseAliases(value, tolerated)
    return parseSimple(format, value)
  } catch (error) {
    if (error instanceof SubjectProblem) throw new InvalidSubject(`Not a valid subject: ${error.message}.`)
    throw error
  }
}

/**
 * The subject without its session when that is an opaque one named `ALL`; undefined when there is none, or nothing else
 * to tell whose sessions are meant. Still complex: absent members mean any (SSF 1.0 §8.1.3.1), so it goes to the streams
 * that events about one session of that user go to.
 */
export function withoutSessionAll(subject: Subject): Subject | undefined {
  if (subject.format !== 'complex') return undefined
  const { session, ...rest } = subject
  const isAll = isJsonObject(session) && session.format === 'opaque' && session.id === 'ALL'
  return isAll && Object.keys(rest).length > 1 ? rest : undefined
}

/**
 * One text per principal as written: two parsed subjects are identical (SSF 1.0 §8.1.3.1) exactly when these are
 * equal. Aliases and address lists are sets, so their order and repeats do not count.
 */
export function canonicalSubject(subject: Subject): string {
  if (subject.format === 'aliases') {
    return canonicalJson({ format: 'aliases', identifiers: sortedSet(subject.identifiers) })
  }
  if (subject.format === 'complex') {
    const members = complexMembers(subject).map(([name, member]) => [name, asSet(member)])
    return canonicalJson({ format: 'complex', ...Object.fromEntries(members) })
  }
  return canonicalJson(asSet(subject))
}

/**
 * The principal whose order an event keeps: complex → its user, else its session, else the first of a fixed list;
 * aliases → the first in canonical order. The binding of an agent, where one is known, comes before this.
 */
export function orderKeyOf(subject: Subject): string {
  if (subject.format === 'aliases') {
    const [first] = sortedSet(subject.identifiers)
    return canonicalSubject(first as Subject)
  }
  if (subject.format !== 'complex') return canonicalSubject(subject)
  const members = complexMembers(subject)
  const named = COMPLEX_MEMBERS.find((name) => subject[name] !== undefined)
  const chosen = named ? subject[named] : members.sort(([a], [b]) => (a < b ? -1 : 1))[0]?.[1]
  return canonicalSubject(chosen as Subject)
}

/** Hash slot, 0 to 63, the same in every log and every process for ever. */
export function slotOf(orderKey: string): number {
  return createHash('sha256').update(orderKey).digest().readUInt32BE(0) % SLOT_COUNT
}

function complexMembers(subject: Subject): [string, Subject][] {
  return Object.entries(subject).filter((entry): entry is [string, Subject] => entry[0] !== 'format')
}

function asSet(subject: Subject): Subject {
  // The path alone names the resource: one event may tell its other names, and the next one not.
  if (subject.format === 'scim') return { format: 'scim', uri: subject.uri }
  if (subject.format !== 'ip-addresses') return subject
  return { format: subject.format, 'ip-addresses': sortedSet(subject['ip-addresses']) }
}

function sortedSet(values: unknown): unknown[] {
  const byText = new Map((values as unknown[]).map((value) => [canonicalJson(settle(value)), settle(value)]))
  return [...byText].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => value)
}

function settle(value: unknown): unknown {
  return isJsonObject(value) ? asSet(value as Subject) : value
}
