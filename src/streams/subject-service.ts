import { InvalidRequest } from '../kernel/errors.js'
import type { Subject } from '../secevent/event.js'
import { canonicalSubject } from '../secevent/subject.js'
import type { Database, Transaction } from '../storage/database.js'
import { createReceiverTermsReadModel } from './receiver-terms-read-model.js'
import type { Stream, StreamSettings } from './stream.js'
import type { StreamKeys } from './stream-collaborators.js'
import { StreamNotFound, SubjectLimitReached } from './stream-errors.js'
import { createStreamRepository } from './stream-repository.js'
import { subjectIndexRows } from './subject-index.js'
import { createSubjectRepository, type SubjectEntry, subjectContext } from './subject-repository.js'

export interface SubjectServiceOptions {
  db: Database
  settings: Pick<StreamSettings, 'maxSubjectsPerStream' | 'subjectRemovalGraceS'>
  keys: StreamKeys
}

/**
 * SSF 1.0 §8.1.3. The hub knows no list of principals, so every subject is answered alike and nothing can be probed
 * (§9.1). Throws StreamNotFound, SubjectLimitReached.
 */
export interface SubjectService {
  /** ALL: takes an exclusion back. NONE: the stream takes events about the subject from now on. */
  add(receiverId: string, streamId: string, subject: Subject, verified: boolean): Promise<void>
  /** ALL: excludes the subject. NONE: undoes its addition. Both after the grace of §9.3. */
  remove(receiverId: string, streamId: string, subject: Subject): Promise<void>
}

/**
 * Sets of other members that the subjects of one stream may name beside one member. Receivers use a few; 100 streams
 * with this many around one tenant cost an event of it 0.8 ms, with 64 of them 3 ms.
 */
const MAX_SETS_PER_MEMBER = 16

type Change = (trx: Transaction, stream: Stream, defaultSubjects: 'ALL' | 'NONE') => Promise<number>

export function createSubjectService(options: SubjectServiceOptions): SubjectService {
  const { db, keys } = options
  const { maxSubjectsPerStream, subjectRemovalGraceS } = options.settings
  const limit = MAX_SETS_PER_MEMBER
  const indexOf = (subject: Subject) => subjectIndexRows(subject, (text) => keys.hmac('subject', text))
  const seal = (streamId: string, subject: Subject) =>
    keys.seal(canonicalSubject(subject), subjectContext(streamId))

  /** Saves, and refuses what would make events with one of its members too dear to match. */
  async function save(trx: Transaction, streamId: string, entry: SubjectEntry): Promise<number> {
    const subjects = createSubjectRepository(trx)
    const added = await subjects.save(streamId, entry)
    if (added === 0) return added
    if ((await subjects.mostPerKey(streamId, entry.index, limit)) <= limit) return added
    throw new SubjectLimitReached(limit, 'sets of members around one member')
  }

  async function change(receiverId: string, streamId: string, apply: Change): Promise<void> {
    await db.transaction(async (trx) => {
      const terms = await createReceiverTermsReadModel(trx).hold(receiverId)
      const streams = createStreamRepository(trx)
      const stream = await streams.lock(receiverId, streamId)
      if (!terms || !stream) throw new StreamNotFound()
      let added = await apply(trx, stream, terms.defaultSubjects)
      const isTooMuch = () => added > 0 && stream.subjectCount + added > maxSubjectsPerStream
      if (isTooMuch() && terms.defaultSubjects === 'NONE') {
        added += await createSubjectRepository(trx).deleteRetired(streamId, subjectRemovalGraceS)
      }
      if (isTooMuch()) throw new SubjectLimitReached(maxSubjectsPerStream)
      await streams.saveSubjectCount(streamId, added)
    })
  }

  return {
    add(receiverId, streamId, subject, verified) {
      const index = indexOf(subject)
      return change(receiverId, streamId, (trx, _stream, defaultSubjects) => {
        if (defaultSubjects === 'ALL') return createSubjectRepository(trx).delete(streamId, index)
        return save(trx, streamId, { index, mode: 'added', sealed: seal(streamId, subject), verified })
      })
    },

    remove(receiverId, streamId, subject) {
      const index = indexOf(subject)
      return change(receiverId, streamId, async (trx, stream, defaultSubjects) => {
        if (subject.format === 'opaque' && subject.id === stream.streamId) {
          throw new InvalidRequest('The stream’s own subject cannot be removed from it (SSF 1.0 §8.1.4.1).')
        }
        const subjects = createSubjectRepository(trx)
        if (defaultSubjects === 'ALL') {
          const sealed = seal(streamId, subject)
          return save(trx, streamId, { index, mode: 'removed', sealed, verified: true })
        }
        if (subjectRemovalGraceS > 0) return subjects.retire(streamId, index)
        return subjects.delete(streamId, index)
      })
    },
  }
}
