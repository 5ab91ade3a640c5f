import type { AuditLog } from '../audit/audit-log.js'
import type { Clock } from '../kernel/clock.js'
import type { Logger } from '../kernel/logger.js'
import type { Person } from '../secevent/person.js'
import type { Transaction } from '../storage/database.js'
import { createErasureMoves, type ErasureMoveOptions } from './erasure-moves.js'
import { type Erasure, type ErasureStep, erasureRepository } from './erasure-repository.js'
import { type ContentKeys, createContentSearch } from './erasure-search.js'
import type { EventRef } from './fan-out-repository.js'
import { parkedRepository } from './parked-repository.js'

export interface ErasureStepOptions extends ErasureMoveOptions {
  readonly audit: AuditLog
  readonly clock: Pick<Clock, 'now'>
  readonly logger: Logger
  readonly keys: ContentKeys
  /** Everything that the log held this long ago is fanned out. */
  isDrained(sinceS: number): Promise<boolean>
  /** Takes the person out of records that wait for Kafka. Answers how many. */
  eraseRecords(person: Person): Promise<number>
  /** A page of the subjects of streams; `next` undefined when it was the last. */
  eraseSubjects(trx: Transaction, person: Person, cursor: unknown): Promise<{ erased: number; next: unknown }>
}

const PAGE = 500

/** Works at one page. False: nothing more can be done now. */
export type RunErasureStep = (erasure: Erasure, person: Person) => Promise<boolean>

/** What each step does; the last one ends the erasure. */
export function createErasureSteps(
  options: ErasureStepOptions,
): Record<Exclude<ErasureStep, 'done'>, RunErasureStep> {
  const { db, logger } = options
  const search = createContentSearch(options.keys)
  const { advance, wait, eraseEvents } = createErasureMoves(options)

  return {
    async log(erasure, person) {
      const sinceS = (options.clock.now() - erasure.requestedAt.getTime()) / 1000
      if (!(await options.isDrained(sinceS))) return await wait(erasure)
      const recordsErased = await options.eraseRecords(person)
      return await advance(erasure, { step: 'events', counts: { recordsErased } })
    },

    async events(erasure, person) {
      const page = await erasureRepository.nextEvents(
        db,
        { upTo: erasure.requestedAt, after: erasure.cursor as EventRef | undefined },
        PAGE,
      )
      const last = page.at(-1)
      if (!last) return await advance(erasure, { step: 'subjects' })
      const theirs: EventRef[] = []
      for (const event of page) if (await search.isInEvent(person, event)) theirs.push(event)
      const cursor = { eventId: last.eventId, day: last.day }
      return await advance(erasure, { cursor, counts: { eventsSeen: page.length } }, async (trx) =>
        theirs.length > 0 ? await eraseEvents(trx, erasure, theirs) : {},
      )
    },

    async subjects(erasure, person) {
      let next: unknown
      const moved = await advance(
        erasure,
        () => (next === undefined ? { step: 'parked' } : { cursor: next }),
        async (trx) => {
          const page = await options.eraseSubjects(trx, person, erasure.cursor)
          next = page.next
          return { subjectsErased: page.erased }
        },
      )
      return moved
    },

    async parked(erasure, person) {
      const page = await parkedRepository.nextRecords(db, erasure.cursor as string | undefined, PAGE)
      const last = page.at(-1)
      if (!last) return await advance(erasure, { step: 'held' })
      const theirs: string[] = []
      for (const record of page) if (await search.isInRecord(person, record)) theirs.push(record.id)
      return await advance(
        erasure,
        { cursor: last.id, counts: { recordsErased: theirs.length } },
        async (trx) => {
          await parkedRepository.eraseRecords(trx, theirs)
          return {}
        },
      )
    },

    async held(erasure) {
      const page = await erasureRepository.held(db, erasure.id, erasure.cursor as string | undefined, PAGE)
      const last = page.at(-1)
      if (last) {
        return await advance(erasure, { cursor: last.eventId }, (trx) => eraseEvents(trx, erasure, page))
      }
      if (erasure.held > 0) return await wait(erasure)
      await advance(erasure, { step: 'done' }, async (trx) => {
        await options.audit.record(trx, {
          actor: 'hub',
          action: 'subject.erased',
          target: `subject:${erasure.subjectHash.toString('hex')}`,
          detail: { erasure_id: erasure.id, events: erasure.eventsErased, subjects: erasure.subjectsErased },
        })
        return {}
      })
      logger.info('erasure.done', { erasure_id: erasure.id, events: erasure.eventsErased })
      return false
    },
  }
}
