import { SealBroken } from '../keys/aead.js'
import type { Subject } from '../secevent/event.js'
import type { Person } from '../secevent/person.js'
import { type Database, sqlRows } from '../storage/database.js'
import { subjectContext } from './subject-repository.js'

interface SubjectRow {
  match_hash: Buffer
  stream_id: string
  complex_hash: Buffer
  subject_wrapped: Buffer
}

/** Of the last row that was looked at, in hex. */
interface Cursor {
  match: string
  stream: string
  complex: string
}

const PAGE = 1_000

/**
 * Takes a person out of a page of the streams' subjects: what is sealed goes, the hashes stay, so events about the
 * person still reach whom they reached.
 */
export function createSubjectEraser(open: (sealed: Buffer, context: string) => Buffer) {
  return async (
    db: Database,
    person: Person,
    cursor: unknown,
  ): Promise<{ erased: number; next: unknown }> => {
    const after = (cursor ?? {
      match: '',
      stream: '00000000-0000-0000-0000-000000000000',
      complex: '',
    }) as Cursor
    const rows = await sqlRows<SubjectRow>(
      db,
      `select match_hash, stream_id, complex_hash, subject_wrapped from stream_subjects
       where (match_hash, stream_id, complex_hash) > (decode(?, 'hex'), ?::uuid, decode(?, 'hex'))
       order by match_hash, stream_id, complex_hash limit ?`,
      [after.match, after.stream, after.complex, PAGE],
    )
    const theirs = rows.filter((row) => isAbout(row))
    await sqlRows(
      db,
      `update stream_subjects s set subject_wrapped = ''
       from unnest(?::bytea[], ?::uuid[], ?::bytea[]) as t (match_hash, stream_id, complex_hash)
       where s.match_hash = t.match_hash and s.stream_id = t.stream_id and s.complex_hash = t.complex_hash`,
      [
        theirs.map((row) => row.match_hash),
        theirs.map((row) => row.stream_id),
        theirs.map((row) => row.complex_hash),
      ],
    )
    const last = rows.length === PAGE ? rows.at(-1) : undefined
    const next = last && {
      match: last.match_hash.toString('hex'),
      stream: last.stream_id,
      complex: last.complex_hash.toString('hex'),
    }
    return { erased: theirs.length, next }

    function isAbout(row: SubjectRow): boolean {
      const subject = row.subject_wrapped.length > 0 ? read(row) : undefined
      return subject !== undefined && (person.isIn(subject) || person.isNamedBy(subject))
    }
  }

  /** Undefined when no key opens it any more: then it is unreadable already. */
  function read(row: SubjectRow): Subject | undefined {
    try {
      return JSON.parse(open(row.subject_wrapped, subjectContext(row.stream_id)).toString()) as Subject
    } catch (error) {
      if (error instanceof SealBroken) return undefined
      throw error
    }
  }
}
