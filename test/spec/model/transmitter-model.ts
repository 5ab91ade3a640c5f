/**
 * What SSF 1.0 §8.1 and RFC 8936 say of streams, subjects and events, as small as it can be said: written from their
 * text and docs/receivers.md, and importing nothing of the hub. A stream is a list of what it owes.
 */

export type Json = string | number | boolean | { readonly [name: string]: Json } | readonly Json[]
export interface ModelSubject {
  readonly format: string
  readonly [member: string]: Json
}

export type ModelStatus = 'enabled' | 'paused' | 'disabled'

export interface ModelEvent {
  /** By which the SET is known again. */
  readonly txn: string
  readonly type: string
  readonly subject: ModelSubject
  /** May overtake what is not, unless both were held. */
  readonly urgent: boolean
  /** Absent: neither takes access away nor gives it back. */
  readonly effect?: 'tightens' | 'loosens'
  /** What its SET must say beside others, of those that the transmitter makes itself. */
  readonly says?: Readonly<Record<string, string>>
}

/** What a stream owes and may send now. */
export interface ModelDue extends ModelEvent {
  /** By the same pause as the others that are held, or an earlier one. */
  readonly held: boolean
}

interface ModelStream {
  readonly receiver: ModelReceiver
  status: ModelStatus
  /** Paused or enabled by the transmitter: then a notice goes out whatever the status is (§8.1.5). */
  byTransmitter: boolean
  requested: readonly string[]
  /** Exceptions to the receiver's default: excluded ones under ALL, included ones under NONE. */
  exceptions: ModelSubject[]
  owed: Owed[]
}

interface Owed {
  readonly event: ModelEvent
  /** Of the stream itself: no type, subject or grant decides about it. */
  readonly kind: 'event' | 'verification' | 'notice'
  /** A pause has ended since it happened. */
  held?: boolean
  /** It gave back what was taken away since: it goes out no more. */
  stale?: boolean
}

export interface ModelReceiver {
  readonly defaultSubjects: 'ALL' | 'NONE'
  /** Types it may have. */
  readonly granted: readonly string[]
}

export interface TransmitterModel {
  create(id: string, receiver: ModelReceiver, requested: readonly string[]): void
  delete(id: string): void
  /** §8.1.1.3, and §8.1.1.4 where nothing is requested any more. */
  request(id: string, requested: readonly string[]): void
  /** A receiver's wish. False: the transmitter has stopped the stream, and it alone lets it go on. */
  setStatus(id: string, status: ModelStatus): boolean
  /** What the transmitter does of itself. True: the status has changed, so it must say so (§8.1.5). */
  setStatusByTransmitter(id: string, status: 'enabled' | 'paused'): boolean
  /** The notice of that. */
  notice(id: string, event: ModelEvent): void
  statusOf(id: string): ModelStatus
  addSubject(id: string, subject: ModelSubject): void
  removeSubject(id: string, subject: ModelSubject): void
  /** §8.1.4.2 */
  verify(id: string, event: ModelEvent): void
  /** An event of the world outside: every stream that takes it owes it from now on. */
  happen(event: ModelEvent): void
  delivered(id: string): string[]
  /** What a stream owes and may send now, oldest first. */
  due(id: string): readonly ModelDue[]
  /** Of these, what a poll may answer with: nothing of a subject from where access came back, until it was seen to go. */
  answerable(id: string): readonly ModelDue[]
  /** Whether something is kept that goes out no more; a poll that reads all of it ends that. */
  keepsStale(id: string): boolean
  dropStale(id: string): void
  acknowledge(id: string, txns: readonly string[]): void
}

export function createTransmitterModel(): TransmitterModel {
  const streams = new Map<string, ModelStream>()
  const of = (id: string): ModelStream => {
    const stream = streams.get(id)
    if (!stream) throw new Error(`the model has no stream ${id}`)
    return stream
  }
  const typesOf = ({ receiver, requested }: ModelStream) =>
    requested.filter((type) => receiver.granted.includes(type))

  function takes(stream: ModelStream, event: ModelEvent): boolean {
    if (stream.status === 'disabled' || !typesOf(stream).includes(event.type)) return false
    if (stream.receiver.defaultSubjects === 'ALL') {
      return !stream.exceptions.some((removed) => covers(removed, event.subject))
    }
    return stream.exceptions.some((added) => matches(added, event.subject))
  }

  /** What gave access back is stale once it is taken away again, whether or not the stream takes the news of that. */
  function cancel(by: ModelEvent): void {
    for (const { owed } of streams.values()) {
      for (const one of owed)
        if (one.event.effect === 'loosens' && isSamePrincipal(one.event, by)) one.stale = true
    }
  }

  return {
    create: (id, receiver, requested) =>
      void streams.set(id, {
        receiver,
        status: 'enabled',
        requested,
        exceptions: [],
        owed: [],
        byTransmitter: false,
      }),
    delete: (id) => void streams.delete(id),
    request(id, requested) {
      of(id).requested = requested
    },
    setStatus(id, status) {
      const stream = of(id)
      const isHeld = stream.byTransmitter && stream.status !== 'enabled'
      if (isHeld) return stream.status === status
      change(stream, status)
      stream.byTransmitter = false
      return true
    },
    setStatusByTransmitter(id, status) {
      const stream = of(id)
      const isNew = stream.status !== status
      change(stream, status)
      stream.byTransmitter = true
      return isNew
    },
    notice: (id, event) => void of(id).owed.push({ event, kind: 'notice' }),
    statusOf: (id) => of(id).status,
    addSubject(id, subject) {
      const stream = of(id)
      const others = stream.exceptions.filter((one) => !isSame(one, subject))
      stream.exceptions = stream.receiver.defaultSubjects === 'ALL' ? others : [...others, subject]
    },
    removeSubject(id, subject) {
      const stream = of(id)
      const others = stream.exceptions.filter((one) => !isSame(one, subject))
      stream.exceptions = stream.receiver.defaultSubjects === 'NONE' ? others : [...others, subject]
    },
    verify(id, event) {
      const stream = of(id)
      if (stream.status !== 'disabled') stream.owed.push({ event, kind: 'verification' })
    },
    happen(event) {
      if (event.effect === 'tightens') cancel(event)
      for (const stream of streams.values()) {
        if (takes(stream, event)) stream.owed.push({ event, kind: 'event' })
      }
    },
    delivered: (id) => typesOf(of(id)),
    due: (id) => dueOf(of(id)),
    answerable(id) {
      const due = dueOf(of(id))
      return due.filter((event) => !isBehindOpposite(event, due))
    },
    keepsStale: (id) => of(id).owed.some(({ stale }) => stale),
    dropStale(id) {
      const stream = of(id)
      if (stream.status === 'enabled') stream.owed = stream.owed.filter(({ stale }) => !stale)
    },
    acknowledge(id, txns) {
      const stream = of(id)
      stream.owed = stream.owed.filter(({ event }) => !txns.includes(event.txn))
    },
  }
}

function dueOf({ status, byTransmitter, owed }: ModelStream): ModelDue[] {
  const due = owed.filter(
    ({ kind, stale }) => !stale && (status === 'enabled' || (byTransmitter && kind === 'notice')),
  )
  return due.map(({ event, held = false }) => ({ ...event, held }))
}

/** One answer has no order, so it does not hold what takes access away and what gives it back, nor what comes after that. */
function isBehindOpposite(event: ModelDue, due: readonly ModelDue[]): boolean {
  const ofSubject = due.filter((other) => isSamePrincipal(other, event))
  const back = ofSubject.findIndex(({ effect }) => effect === 'loosens')
  return (
    back >= 0 &&
    ofSubject.some(({ effect }) => effect === 'tightens') &&
    ofSubject.findIndex(({ txn }) => txn === event.txn) >= back
  )
}

const isSamePrincipal = (one: ModelEvent, other: ModelEvent) =>
  principalOf(one.subject) === principalOf(other.subject)

/** §8.1.2.1: what is paused may be held, and is; a disabled stream holds nothing. */
function change(stream: ModelStream, status: ModelStatus): void {
  if (status === 'disabled') stream.owed = []
  if (stream.status === 'paused' && status === 'enabled') for (const owed of stream.owed) owed.held = true
  stream.status = status
}

/** §8.1.3.1, where two complex subjects must have a member in common: without one they say nothing of each other. */
function matches(added: ModelSubject, sent: ModelSubject): boolean {
  if (!isComplex(added) || !isComplex(sent))
    return !isComplex(added) && !isComplex(sent) && isSame(added, sent)
  const common = membersOf(added).filter((name) => name in sent)
  return common.length > 0 && common.every((name) => isSame(partOf(added, name), partOf(sent, name)))
}

/** Whether leaving out the one leaves out the other: a wider event is about more than was left out. */
function covers(removed: ModelSubject, sent: ModelSubject): boolean {
  if (!isComplex(removed) || !isComplex(sent)) return matches(removed, sent)
  return membersOf(removed).every((name) => name in sent && isSame(partOf(removed, name), partOf(sent, name)))
}

/** By what two events are about one Subject Principal (§8.1.2.1): the user, else what else is named first. */
export function principalOf(subject: ModelSubject): string {
  const named = ['user', 'device', 'tenant'].find((name) => name in subject)
  return JSON.stringify(plain(isComplex(subject) && named ? partOf(subject, named) : subject))
}

const isComplex = (subject: ModelSubject) => subject.format === 'complex'
const membersOf = (subject: ModelSubject) => Object.keys(subject).filter((name) => name !== 'format')
const partOf = (subject: ModelSubject, name: string) => subject[name] as unknown as ModelSubject

function isSame(one: ModelSubject, other: ModelSubject): boolean {
  return JSON.stringify(plain(one)) === JSON.stringify(plain(other))
}

/** Names in order; the domain of an address has no case (RFC 5321 §2.4). */
function plain(value: Json): Json {
  if (typeof value !== 'object' || Array.isArray(value)) return value
  const sorted = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(
    sorted.map(([name, member]) => {
      if (name !== 'email' || typeof member !== 'string') return [name, plain(member)]
      const [local, domain = ''] = member.split('@')
      return [name, `${local}@${domain.toLowerCase()}`]
    }),
  )
}
