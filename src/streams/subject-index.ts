import type { Subject } from '../secevent/event.js'
import { canonicalSubject } from '../secevent/subject.js'

/** HMAC of a text under the hub's subject key, 32 bytes: `(text) => keys.hmac('subject', text)`. */
export type SubjectHmac = (text: string) => Buffer

/** One index key of a subject. `member` is '' for a simple subject, else the complex subject's member. */
export interface SubjectKey {
  readonly member: string
  readonly hash: Buffer
}

export interface SubjectIndex {
  /** Names the whole complex subject; empty for a simple one. */
  readonly complexHash: Buffer
  readonly rows: readonly SubjectKey[]
}

const SIMPLE = Buffer.alloc(0)

/**
 * The rows of `stream_subjects` that stand for a subject: one for a simple subject (aliases too, which match as a
 * whole), one per member for a complex one, joined by `complexHash`. Pure.
 */
export function subjectIndexRows(subject: Subject, hmac: SubjectHmac): SubjectIndex {
  const rows = eventMatchHashes(subject, hmac)
  const complexHash = subject.format === 'complex' ? hmac(`whole\n${canonicalSubject(subject)}`) : SIMPLE
  return { complexHash, rows }
}

/**
 * The keys with which an event's subject looks for rows. The kind and the member's name are inside the hash, so a
 * simple subject never meets a complex one, nor a user a device (T-35, T-37). Pure.
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
