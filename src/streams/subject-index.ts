import { createHash } from 'node:crypto'
import { InvalidRequest } from '../kernel/errors.js'
import type { Subject } from '../secevent/event.js'
import { canonicalSubject } from '../secevent/subject.js'

/** HMAC of a text under the hub's subject key, 32 bytes: `(text) => keys.hmac('subject', text)`. */
export type SubjectHmac = (text: string) => Buffer

/** One index key of a subject. `member` is '' for a simple subject, else the complex subject's member. */
export interface SubjectKey {
  readonly member: string
  readonly hash: Buffer
}

/** One combination of a complex subject's members. */
export interface CombinedKey {
  /** SHA-256 of the members' hashes, in the order of their bytes. */
  readonly hash: Buffer
  /** Names of the members left out, in the order of their bytes. */
  readonly rest: readonly string[]
}

export interface SubjectIndex {
  /** Names the whole complex subject; empty for a simple one. */
  readonly complexHash: Buffer
  readonly rows: readonly SubjectKey[]
  /** By which a complex subject is found, the one of all members first; none for a simple subject. */
  readonly combined: readonly CombinedKey[]
}

const SIMPLE = Buffer.alloc(0)

/** A subject of n members has 2ⁿ - 1 combinations. SSF 1.0 §3.3 names seven members. */
const MAX_MEMBERS = 7
const MAX_MEMBER_NAME_BYTES = 100

/**
 * What stands for a subject of a stream: one row for a simple subject (aliases too, which match as a whole), one per
 * member for a complex one, joined by `complexHash`, and its combined keys. Pure.
 * @throws InvalidRequest for more or longer members than a stream's subject may have
 */
export function subjectIndexRows(subject: Subject, hmac: SubjectHmac): SubjectIndex {
  const rows = eventMatchHashes(subject, hmac)
  if (subject.format !== 'complex') return { complexHash: SIMPLE, rows, combined: [] }
  const tooLong = rows.some(({ member }) => Buffer.byteLength(member) > MAX_MEMBER_NAME_BYTES)
  if (rows.length > MAX_MEMBERS || tooLong) {
    throw new InvalidRequest(
      `A complex subject of a stream may have at most ${MAX_MEMBERS} members, with names of at most ${MAX_MEMBER_NAME_BYTES} bytes; send fewer or shorter ones.`,
    )
  }
  return { complexHash: hmac(`whole\n${canonicalSubject(subject)}`), rows, combined: combinedKeys(rows) }
}

/** The combined keys of these members, at most `MAX_MEMBERS`, the one of all of them first. Pure. */
export function combinedKeys(rows: readonly SubjectKey[]): CombinedKey[] {
  const members = [...rows].sort((a, b) => Buffer.compare(a.hash, b.hash))
  const all = 2 ** members.length - 1
  return Array.from({ length: all }, (_, index) => {
    const isIn = (position: number) => (((all - index) >> position) & 1) === 1
    const hashes = members.filter((_member, position) => isIn(position)).map(({ hash }) => hash)
    const rest = members
      .filter((_member, position) => !isIn(position))
      .map(({ member }) => Buffer.from(member))
    return {
      hash: createHash('sha256').update(Buffer.concat(hashes)).digest(),
      rest: rest.sort(Buffer.compare).map(String),
    }
  })
}

/**
 * The keys with which an event's subject looks for rows. The kind and the member's name are inside the hash, so a
 * simple subject never meets a complex one, nor a user a device (SSF 1.0 §8.1.3.1). Pure.
 */
export function eventMatchHashes(subject: Subject, hmac: SubjectHmac): SubjectKey[] {
  if (subject.format !== 'complex')
    return [{ member: '', hash: hmac(`simple\n${canonicalSubject(subject)}`) }]
  return Object.entries(subject)
    .filter(([name]) => name !== 'format')
    .map(([name, value]) => ({
      member: name,
      hash: hmac(`member\n${JSON.stringify(name)}\n${canonicalSubject(value as Subject)}`),
    }))
}

/** Texts as a literal of text[], where an array of arrays would have to be rectangular. */
export function textArrayLiteral(texts: readonly string[]): string {
  return `{${texts.map((text) => `"${text.replace(/["\\]/g, '\\$&')}"`).join(',')}}`
}
