import type { AuditLog } from '../audit/audit-log.js'
import { type Clock, dayOf } from '../kernel/clock.js'
import type { Logger } from '../kernel/logger.js'
import { createPeriodicWorker, type PeriodicWorker } from '../kernel/periodic-worker.js'
import { SealBroken } from '../keys/aead.js'
import type { Subject } from '../secevent/event.js'
import { createPerson, type Person } from '../secevent/person.js'
import type { Database, Transaction } from '../storage/database.js'
import {
  type Erasure,
  type ErasureCounts,
  type ErasureStep,
  erasureRepository,
} from './erasure-repository.js'
import { type ErasureKeys, erasureContext } from './erasure-service.js'
import { type EventRef, fanOutRepository } from './fan-out-repository.js'
import { parkedRepository } from './parked-repository.js'
import { resultRepository } from './result-repository.js'

export interface ErasureWorkerOptions {
  readonly db: Database
  readonly audit: AuditLog
  readonly clock: Pick<Clock, 'now'>
  readonly logger: Logger
  readonly keys: ErasureKeys & {
    contentCipher(day: string): Promise<{ open(sealed: Buffer): Buffer }>
  }
  /** One process does this. */
  isLeader(): boolean
  /** Everything that the log held this long ago is fanned out. */
  isDrained(sinceS: number): Promise<boolean>
  /** Takes the person out of records that wait for Kafka. Answers how many. */
  eraseRecords(person: Person): Promise<number>
  /** A page of the subjects of streams; `next` undefined when it was the last. */
  eraseSubjects(trx: Transaction, person: Person, cursor: unknown): Promise<{ erased: number; next: unknown }>
  /** What enforcement points said about these events. */
  eraseReports(trx: Transaction, events: readonly EventRef[]): Promise<void>
  /** Open work of the stream is gone: what waits in memory must go too. */
  streamChanged(streamId: string): Promise<unknown>
}

export interface ErasureWorker extends PeriodicWorker {
  /** Works all erasures off as far as they get. */
  workOnce(): Promise<void>
}

const PAGE = 500
const EVERY_MS = 5_000

/**
 * Works erasures off, a page per transaction: each step goes on where its cursor says, in whatever process. First the
 * log is drained, so that no event of before the request comes into the tables behind the scan.
 */
export function createErasureWorker(options: ErasureWorkerOptions): ErasureWorker {
  const { db, logger } = options
  let stopping = false

  const STEPS: Record<
    Exclude<ErasureStep, 'done'>,
    (erasure: Erasure, person: Person) => Promise<boolean>
  > = {
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
      for (const event of page) {
        const content = await openJson(event.content, [event.day])
        if (isAbout(person, content)) theirs.push(event)
      }
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
      for (const { id, parkedDay, record } of page) {
        // Sealed by the hub's clock, dated by the database's: at midnight they may differ.
        const content = await openText(record, [parkedDay, nextDay(parkedDay, -1), nextDay(parkedDay, 1)])
        if (content !== undefined && namesInRecord(person, content)) theirs.push(id)
      }
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

  type Move = { step?: ErasureStep; cursor?: unknown; counts?: Partial<ErasureCounts> }

  /** One transaction: the work, and how far it came. False when another process has gone on meanwhile. */
  async function advance(
    erasure: Erasure,
    move: Move | (() => Move),
    work: (
      trx: Transaction,
    ) => Promise<Partial<ErasureCounts> & { streams?: readonly string[] }> = async () => ({}),
  ): Promise<boolean> {
    const streams = await db.transaction(async (trx) => {
      const now = await erasureRepository.find(trx, erasure.id, { lock: true })
      if (now?.step !== erasure.step || JSON.stringify(now.cursor) !== JSON.stringify(erasure.cursor))
        return undefined
      const { streams: changed = [], ...counted } = await work(trx)
      const { counts, ...rest } = typeof move === 'function' ? move() : move
      await erasureRepository.save(trx, erasure.id, { ...rest, counts: { ...counts, ...counted } })
      return changed
    })
    await Promise.all([...new Set(streams)].map((streamId) => options.streamChanged(streamId)))
    return streams !== undefined
  }

  async function wait(erasure: Erasure): Promise<false> {
    await db.transaction((trx) => erasureRepository.save(trx, erasure.id, { waits: true }))
    return false
  }

  /** Erases what is owed to nobody; the rest is held, or with force ended before. */
  async function eraseEvents(trx: Transaction, { id, force }: Erasure, events: readonly EventRef[]) {
    const ids = events.map((event) => event.eventId)
    const streams = force ? await resultRepository.discardOwed(trx, ids) : []
    const owed = await resultRepository.findOwed(trx, ids)
    const free = events.filter((event) => !owed.has(event.eventId))
    if (free.length > 0) {
      await fanOutRepository.eraseContent(trx, free)
      await resultRepository.eraseFailures(trx, free)
      await parkedRepository.eraseWords(trx, free)
      await options.eraseReports(trx, free)
      await erasureRepository.release(trx, id, free)
    }
    await erasureRepository.hold(
      trx,
      id,
      events.filter((event) => owed.has(event.eventId)),
    )
    return { eventsErased: free.length, deliveriesDiscarded: streams.length, streams }
  }

  /** Undefined when none of the days' keys opens it: then it is unreadable already. */
  async function openText(sealed: Buffer, days: readonly string[]): Promise<string | undefined> {
    for (const day of days) {
      try {
        return (await options.keys.contentCipher(day)).open(sealed).toString()
      } catch (error) {
        if (!(error instanceof SealBroken)) throw error
      }
    }
    return undefined
  }

  async function openJson(sealed: Buffer, days: readonly string[]): Promise<unknown> {
    const text = await openText(sealed, days)
    return text === undefined ? undefined : (JSON.parse(text) as unknown)
  }

  async function workOff(id: string): Promise<void> {
    for (;;) {
      const erasure = await erasureRepository.find(db, id)
      if (stopping || !erasure || erasure.step === 'done' || !options.isLeader()) return
      const sealed = erasure.sealedIdentifiers
      const identifiers = sealed ? options.keys.open(sealed, erasureContext(id)).toString() : '[]'
      const person = createPerson(JSON.parse(identifiers) as Subject[])
      if (!(await STEPS[erasure.step](erasure, person))) return
    }
  }

  async function workOnce(): Promise<void> {
    if (!options.isLeader()) return
    for (const id of await erasureRepository.open(db)) await workOff(id)
  }

  const worker = createPeriodicWorker({
    name: 'erasures',
    everyMs: EVERY_MS,
    round: workOnce,
    failed: { event: 'erasure.failed', says: 'an erasure could not go on' },
    logger,
  })
  return {
    ...worker,
    workOnce,
    async stop() {
      stopping = true
      await worker.stop()
    },
  }
}

function isAbout(person: Person, content: unknown): boolean {
  const { sub_id: subject } = (content ?? {}) as { sub_id?: Subject }
  return (subject !== undefined && person.isIn(subject)) || person.isNamedBy(content)
}

/** A parked record is an event as JSON, a SET in compact form, or anything. */
function namesInRecord(person: Person, text: string): boolean {
  const [, payload] = /^[\w-]+\.([\w-]+)\.[\w-]*$/.exec(text) ?? []
  const json = payload === undefined ? text : Buffer.from(payload, 'base64url').toString()
  try {
    const value = JSON.parse(json) as { sub_id?: Subject; subject?: Subject } | null
    return isAbout(person, { ...value, sub_id: value?.sub_id ?? value?.subject })
  } catch {
    return person.isNamedBy(json) || person.isNamedBy(text)
  }
}

function nextDay(day: string, by: number): string {
  return dayOf(Date.parse(day) + by * 86_400_000)
}
