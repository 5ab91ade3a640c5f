import { isIP } from 'node:net'
import { canonicalJson, isJsonObject } from './canonical-json.js'
import type { Subject } from './event.js'
import type { Tolerated } from './tolerances.js'

/** Says what is wrong with a subject; `parseSubject` makes an InvalidSubject of it. */
export class SubjectProblem extends Error {}

/** Members that SSF 1.0 §3.3 names; others may be added by agreement. */
export const COMPLEX_MEMBERS: readonly string[] = [
  'user',
  'session',
  'device',
  'application',
  'group',
  'org_unit',
  'tenant',
]

/** Longest text one member may hold. Identifiers are keys and index entries, not documents. */
const MAX_MEMBER_LENGTH = 2048
const MAX_LIST_LENGTH = 100

/** Of early RISC: `iss` and `sub` of an ID token, or its `email` alone. No format of RFC 9493. */
const ID_TOKEN_CLAIMS = 'id_token_claims'

/** Spellings of drafts and of older transmitters, taken in and never sent. */
const LEGACY_FORMATS: Readonly<Record<string, string>> = {
  phone: 'phone_number',
  'jwt-id': 'jwt_id',
  'iss-sub': 'iss_sub',
  ip_addresses: 'ip-addresses',
  'id-token-claims': ID_TOKEN_CLAIMS,
}

type Parse = (value: Readonly<Record<string, unknown>>) => Record<string, unknown>

/** RFC 9493 §3.2 and SSF 1.0 §3.5: exactly the members of the format, all of them, none empty. */
const SIMPLE_FORMATS: Readonly<Record<string, Parse>> = {
  account: (value) => ({ uri: accountUri(text(value, 'uri')) }),
  email: (value) => ({ email: emailAddress(text(value, 'email')) }),
  iss_sub: (value) => ({ iss: text(value, 'iss'), sub: text(value, 'sub') }),
  opaque: (value) => ({ id: text(value, 'id') }),
  phone_number: (value) => ({ phone_number: phoneNumber(value) }),
  did: (value) => ({ url: startingWith(text(value, 'url'), 'did:', 'a DID URL') }),
  uri: (value) => ({ uri: anyUri(text(value, 'uri')) }),
  jwt_id: (value) => ({ iss: text(value, 'iss'), jti: text(value, 'jti') }),
  saml_assertion_id: (value) => ({
    issuer: text(value, 'issuer'),
    assertion_id: text(value, 'assertion_id'),
  }),
  scim: scimResource,
  'ip-addresses': (value) => ({ 'ip-addresses': ipAddresses(value['ip-addresses'] ?? value.ip_addresses) }),
}

/**
 * The format as the standards spell it; a complex subject of before June 2023 had none.
 * @param tolerated old spellings that were met are added here
 */
export function formatOf(value: Readonly<Record<string, unknown>>, tolerated?: Set<Tolerated>): string {
  // RISC 1.0 §3.1: Google's transmitter says subject_type.
  const format = value.format ?? value.subject_type
  if (typeof format === 'string' && format !== '') {
    if (value.format === undefined) tolerated?.add('subject_type')
    const known = Object.hasOwn(LEGACY_FORMATS, format) ? LEGACY_FORMATS[format] : format
    if (known !== format || known === ID_TOKEN_CLAIMS) tolerated?.add('subject_format')
    return known === ID_TOKEN_CLAIMS ? formatOfClaims(value) : (known as string)
  }
  const looksComplex = format === undefined && COMPLEX_MEMBERS.some((member) => isJsonObject(value[member]))
  if (!looksComplex) throw new SubjectProblem('a subject needs a "format" member that is a non-empty string')
  tolerated?.add('complex_without_format')
  return 'complex'
}

function formatOfClaims({ sub, email }: Readonly<Record<string, unknown>>): string {
  return sub === undefined && email !== undefined ? 'email' : 'iss_sub'
}

/** A subject of any format except `complex` and `aliases`, with its members normalised and unknown ones dropped. */
export function parseSimple(format: string, value: Readonly<Record<string, unknown>>): Subject {
  const parse = Object.hasOwn(SIMPLE_FORMATS, format) ? SIMPLE_FORMATS[format] : undefined
  return { format, ...(parse ? parse(value) : proprietary(format, value)) }
}

/** RFC 9493 §3.2.8: identifiers of one subject, none of them a list again. */
export function parseAliases(value: Readonly<Record<string, unknown>>, tolerated?: Set<Tolerated>): Subject {
  const list = value.identifiers
  if (!Array.isArray(list) || list.length === 0 || list.length > MAX_LIST_LENGTH) {
    throw new SubjectProblem(`"identifiers" must be an array of 1 to ${MAX_LIST_LENGTH} subjects`)
  }
  return { format: 'aliases', identifiers: list.map((entry) => parseMember(entry, 'identifiers', tolerated)) }
}

/** SSF 1.0 §3.3: one or more simple subjects under names of their own. */
export function parseComplex(value: Readonly<Record<string, unknown>>, tolerated?: Set<Tolerated>): Subject {
  const entries = Object.entries(value).filter(([name]) => name !== 'format' && name !== 'subject_type')
  if (entries.length === 0 || entries.length > MAX_LIST_LENGTH) {
    throw new SubjectProblem('a complex subject needs at least one member, such as "user" or "session"')
  }
  const members = entries.map(([name, member]) => [name, parseMember(member, name, tolerated)] as const)
  return { format: 'complex', ...Object.fromEntries(members) }
}

/** Nesting is undefined by SSF 1.0 §3.3 (WG issue 282), so what it would match is anybody's guess: refused. */
function parseMember(value: unknown, name: string, tolerated?: Set<Tolerated>): Subject {
  if (!isJsonObject(value)) throw new SubjectProblem(`"${name}" must hold subject identifier objects`)
  const format = formatOf(value, tolerated)
  if (format === 'complex' || format === 'aliases') {
    throw new SubjectProblem(`"${name}" must hold a simple subject, not "${format}"`)
  }
  return parseSimple(format, value)
}

function text(value: Readonly<Record<string, unknown>>, member: string): string {
  const found = value[member]
  if (typeof found !== 'string' || found === '') {
    throw new SubjectProblem(`"${member}" must be a non-empty string`)
  }
  if (found.length > MAX_MEMBER_LENGTH) {
    throw new SubjectProblem(`"${member}" must be at most ${MAX_MEMBER_LENGTH} characters`)
  }
  return found
}

function startingWith(found: string, prefix: string, what: string): string {
  if (!found.toLowerCase().startsWith(prefix)) throw new SubjectProblem(`expected ${what} (${prefix}…)`)
  return prefix + found.slice(prefix.length)
}

/** RFC 7565: scheme and host ignore case, the user part does not. */
function accountUri(found: string): string {
  const uri = startingWith(found, 'acct:', 'an account URI')
  const at = uri.lastIndexOf('@')
  if (at <= 'acct:'.length || at === uri.length - 1) throw new SubjectProblem('expected acct:user@host')
  return uri.slice(0, at) + uri.slice(at).toLowerCase()
}

/** RFC 9493 §3.2.2.1. The domain ignores case; whether the local part does is known to its host alone. */
function emailAddress(found: string): string {
  const at = found.lastIndexOf('@')
  if (at <= 0 || at === found.length - 1 || /\s/.test(found.slice(at))) {
    throw new SubjectProblem('"email" must be an address such as user@example.com')
  }
  return found.slice(0, at) + found.slice(at).toLowerCase()
}

/** E.164. SSF's own example has spaces in it, so the separators people write are dropped. */
function phoneNumber(value: Readonly<Record<string, unknown>>): string {
  const found = text(value, value.phone_number === undefined ? 'phone' : 'phone_number')
  const number = found.replace(/[\s().-]/g, '')
  if (!/^\+[1-9]\d{1,14}$/.test(number)) {
    throw new SubjectProblem('"phone_number" must be E.164, such as +12065550100')
  }
  return number
}

/**
 * RFC 9967 §2.1: the path of the resource, and other attributes that name it. A path without its first slash means the
 * same. What the attributes are is a matter of the two parties, so all that are text are kept.
 */
function scimResource(value: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const uri = text(value, 'uri')
  const isWhole = uri.startsWith('/') || /^[A-Za-z][A-Za-z0-9+.-]*:/.test(uri)
  const names = Object.keys(value).filter(
    (name) =>
      !['format', 'subject_type', 'uri'].includes(name) &&
      typeof value[name] === 'string' &&
      value[name] !== '',
  )
  if (names.length > MAX_LIST_LENGTH) throw new SubjectProblem('a scim subject has too many members')
  return {
    uri: isWhole ? uri : `/${uri}`,
    ...Object.fromEntries(names.map((name) => [name, text(value, name)])),
  }
}

function anyUri(found: string): string {
  if (!/^[A-Za-z][A-Za-z0-9+.-]*:\S/.test(found)) throw new SubjectProblem('"uri" must be an absolute URI')
  return found
}

/** SSF 1.0 §3.5.3. Compared as a set of addresses, so one spelling each. */
function ipAddresses(found: unknown): string[] {
  if (!Array.isArray(found) || found.length === 0 || found.length > MAX_LIST_LENGTH) {
    throw new SubjectProblem(`"ip-addresses" must be an array of 1 to ${MAX_LIST_LENGTH} addresses`)
  }
  return found.map((address: unknown) => {
    if (typeof address !== 'string' || isIP(address) === 0) {
      throw new SubjectProblem('"ip-addresses" must hold IPv4 or IPv6 addresses')
    }
    return isIP(address) === 6 ? shortestIpv6(address) : address
  })
}

function shortestIpv6(address: string): string {
  // A zone id is no part of a URL host; such an address is meant for one machine and compared as it stands.
  if (address.includes('%')) return address.toLowerCase()
  return new URL(`http://[${address}]/`).hostname.slice(1, -1)
}

/** A format agreed between the parties (SSF 1.0 §3.4): its members are theirs, only emptiness is refused. */
function proprietary(format: string, value: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const members = Object.entries(value).filter(([name]) => name !== 'format' && name !== 'subject_type')
  if (members.length === 0) throw new SubjectProblem(`a subject of format "${format}" needs a member`)
  for (const [name, member] of members) {
    if (member === null || member === '') throw new SubjectProblem(`"${name}" must not be empty`)
    if (canonicalJson(member).length > MAX_MEMBER_LENGTH) throw new SubjectProblem(`"${name}" is too long`)
  }
  return Object.fromEntries(members)
}
