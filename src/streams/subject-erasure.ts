import { SealBroken } from '../keys/aead.js'
import type { Subject } from '../secevent/event.js'
import type { Person } from '../secevent/person.js'
import type { Database } from '../storage/database.js'
import {
  createSubjectRepository,
  placeOf,
  type StoredSubject,
  type SubjectPlace,
  subjectContext,
} from './subject-repository.js'

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
    const after = cursor as SubjectPlace | undefined
    const subjects = createSubjectRepository(db)
    const rows = await subjects.page(after, PAGE)
    const theirs = rows.filter((row) => isAbout(row))
    await subjects.eraseSealed(theirs)
    const last = rows.length === PAGE ? rows.at(-1) : undefined
    const next = last && placeOf(last)
    return { erased: theirs.length, next }

    function isAbout(row: StoredSubject): boolean {
      const subject = row.sealed.length > 0 ? read(row) : undefined
      return subject !== undefined && (person.isIn(subject) || person.isNamedBy(subject))
    }
  }

  /** Undefined when no key opens it any more: then it is unreadable already. */
  function read(row: StoredSubject): Subject | undefined {
    try {
      return JSON.parse(open(row.sealed, subjectContext(row.streamId)).toString()) as Subject
    } catch (error) {
      if (error instanceof SealBroken) return undefined
      throw error
    }
  }
}
