import assert from 'node:assert/strict'

export type Effect = 'tightens' | 'loosens' | 'neutral'

/** What its producer knows of a SET; what it does not tell is not judged. */
export interface Told {
  /** Of its first push, on this process's monotonic clock, ms. */
  readonly sentAtMs?: number
  readonly subject?: string
  readonly effect?: Effect
}

interface Accepted extends Told {
  readonly txn: string
  readonly acceptedAtMs: number
}

export interface Receipt {
  readonly txn: string
  readonly jti: string
  /** On this process's monotonic clock, ms. */
  readonly atMs: number
}

/** What became of a SET on a stream, as the hub's database says. */
export interface Outcome {
  readonly txn: string
  readonly outcome: string
}

export interface Window {
  readonly fromMs: number
  readonly toMs: number
}

/**
 * What happened, as seen outside the hub: which SETs were answered 202, and which SETs came out of each stream, in
 * order. Every pushed SET has a txn of its own, which the hub passes on. It imports nothing of the hub, which is tested.
 */
export interface Ledger {
  /** This stream is there: what is accepted from now on must come out of it. Only while nothing is being pushed. */
  expect(stream: string): void
  /** Nothing more is expected of this stream: a test made it lose or keep back SETs. */
  release(stream: string): void
  /** What was accepted so far may be lost, for a test took it away: `missing` alone still tells of it. */
  excuse(): void
  /** Names of the streams that are expected to get every SET. */
  streams(): string[]
  /** The hub answered 202 to the SET with this txn. */
  accepted(txn: string, told?: Told): void
  /** A SET came out of this stream. Answers its jti. */
  received(stream: string, set: string): string
  acceptedCount(): number
  /** Accepted SETs that did not come out of the stream, but for those that a newer one of the subject took back. */
  missing(stream: string): string[]
  receipts(stream: string): readonly Receipt[]
  /** SETs that came more than once under the same jti. */
  duplicates(stream: string): number
  /** True when nothing is missing on any expected stream but what was excused. */
  complete(): boolean
  /** L1: what was acknowledged and is missing, in words. */
  lost(): string[]
  /** L2: after dedupe by jti each event is there once. */
  doubled(): string[]
  /** L3: no loosening SET comes first after a tightening one of its subject that is surely newer. */
  stale(): string[]
  /**
   * L4: what the database says was received is what the endpoint took, and nothing else; and it says `superseded` of each
   * SET that did not come because a newer one took it back, which `missing` takes on trust.
   */
  unequal(stream: string, outcomes: readonly Outcome[]): string[]
  /** L5: streams with more repeats than that. */
  repeated(atMost: number): string[]
  /** From the first push to the first receipt, of SETs first pushed in the window, on all expected streams; ms. */
  timesToRevoke(window: Window): number[]
  /** L6: how long after `endMs` the last of what was accepted before it came out of the slowest stream; ms. */
  recoveryMs(endMs: number): number
  /** L1 to L3, on every expected stream. */
  check(): void
}

export function createLedger(): Ledger {
  const accepted: Accepted[] = []
  const byTxn = new Map<string, Accepted>()
  const expectedFrom = new Map<string, number>()
  const logs = new Map<string, Receipt[]>()
  /** When the newest tightening SET of a subject was accepted. */
  const tightenedAt = new Map<string, number>()
  let excused = 0
  const logOf = (stream: string): Receipt[] => {
    const log = logs.get(stream) ?? []
    logs.set(stream, log)
    return log
  }
  const dueOf = (stream: string, from = 0) => accepted.slice(Math.max(expectedFrom.get(stream) ?? 0, from))
  const firstOf = (stream: string) => {
    const first = new Map<string, number>()
    for (const { txn, atMs } of logOf(stream)) if (!first.has(txn)) first.set(txn, atMs)
    return first
  }
  /** Its order among others lies between its first push and its 202, so a tightening one that ended later may be newer. */
  const mayBeSuperseded = ({ effect, subject, sentAtMs }: Accepted) =>
    effect === 'loosens' &&
    subject !== undefined &&
    (tightenedAt.get(subject) ?? Number.NEGATIVE_INFINITY) > (sentAtMs ?? Number.NEGATIVE_INFINITY)
  const untaken = (stream: string, from?: number) => {
    const seen = firstOf(stream)
    return dueOf(stream, from).filter(({ txn }) => !seen.has(txn))
  }
  const missing = (stream: string, from?: number) =>
    untaken(stream, from)
      .filter((entry) => !mayBeSuperseded(entry))
      .map(({ txn }) => txn)
  const everyStream = (faultsOf: (stream: string) => string[]) => [...expectedFrom.keys()].flatMap(faultsOf)

  const ledger: Ledger = {
    expect: (stream) => void expectedFrom.set(stream, accepted.length),
    release: (stream) => void expectedFrom.delete(stream),
    excuse() {
      excused = accepted.length
    },
    streams: () => [...expectedFrom.keys()],
    accepted(txn, told = {}) {
      const entry = { ...told, txn, acceptedAtMs: performance.now() }
      accepted.push(entry)
      byTxn.set(txn, entry)
      if (told.effect === 'tightens' && told.subject !== undefined) {
        tightenedAt.set(told.subject, entry.acceptedAtMs)
      }
    },
    received(stream, set) {
      const { txn, jti } = claimsOf(set)
      logOf(stream).push({ txn, jti, atMs: performance.now() })
      return jti
    },
    acceptedCount: () => accepted.length,
    missing: (stream) => missing(stream),
    receipts: logOf,
    duplicates: (stream) => logOf(stream).length - new Set(logOf(stream).map(({ jti }) => jti)).size,
    complete: () => ledger.streams().every((stream) => missing(stream, excused).length === 0),
    lost: () =>
      everyStream((stream) => {
        const lost = missing(stream, excused)
        return lost.length === 0 ? [] : [`L1: ${stream} misses ${lost.length}, e.g. ${lost.slice(0, 3)}`]
      }),
    doubled: () => everyStream((stream) => doubledIn(stream, logOf(stream))),
    stale: () => everyStream((stream) => staleIn(stream, firstOf(stream), byTxn)),
    unequal(stream, outcomes) {
      const taken = firstOf(stream)
      const received = new Set(outcomes.filter(({ outcome }) => outcome === 'received').map(({ txn }) => txn))
      // Its answer was lost with the process that waited for it, and what was newer had come before it went out again.
      const overtaken = new Set(
        outcomes.filter(({ outcome }) => outcome === 'superseded').map(({ txn }) => txn),
      )
      return [
        ...[...taken.keys()]
          .filter((txn) => !received.has(txn) && !overtaken.has(txn))
          .map((txn) => `${txn} was taken, not noted`),
        ...[...received].filter((txn) => !taken.has(txn)).map((txn) => `${txn} was noted, not taken`),
        ...outcomes
          .filter(({ txn, outcome }) => {
            const entry = byTxn.get(txn)
            return outcome === 'superseded' && entry !== undefined && !mayBeSuperseded(entry)
          })
          .map(({ txn }) => `${txn} was superseded by nothing`),
        ...untaken(stream, excused)
          .filter((entry) => mayBeSuperseded(entry) && !overtaken.has(entry.txn))
          .map(({ txn }) => `${txn} was neither taken nor superseded`),
      ].map((fault) => `L4: ${stream}: ${fault}`)
    },
    repeated: (atMost) =>
      everyStream((stream) => {
        const count = ledger.duplicates(stream)
        return count > atMost ? [`L5: ${stream} got ${count} repeats, ${atMost} at most`] : []
      }),
    timesToRevoke: ({ fromMs, toMs }) =>
      ledger.streams().flatMap((stream) => {
        const first = firstOf(stream)
        return dueOf(stream).flatMap(({ txn, sentAtMs }) => {
          const atMs = first.get(txn)
          const isInside = sentAtMs !== undefined && sentAtMs >= fromMs && sentAtMs <= toMs
          return isInside && atMs !== undefined ? [atMs - sentAtMs] : []
        })
      }),
    recoveryMs(endMs) {
      const late = ledger.streams().flatMap((stream) => {
        const first = firstOf(stream)
        return dueOf(stream)
          .filter(({ acceptedAtMs }) => acceptedAtMs <= endMs)
          .map(({ txn }) => (first.get(txn) ?? endMs) - endMs)
      })
      return late.reduce((most, ms) => Math.max(most, ms), 0)
    },
    check() {
      assert.deepEqual([...ledger.lost(), ...ledger.doubled(), ...ledger.stale()], [])
    },
  }
  return ledger
}

function doubledIn(stream: string, log: readonly Receipt[]): string[] {
  const jtiOf = new Map<string, string>()
  const txnOf = new Map<string, string>()
  const faults: string[] = []
  for (const { txn, jti } of log) {
    if ((jtiOf.get(txn) ?? jti) !== jti) faults.push(`L2: ${stream} got ${txn} under two jtis`)
    if ((txnOf.get(jti) ?? txn) !== txn) faults.push(`L2: ${stream} got one jti for ${txn} and another`)
    jtiOf.set(txn, jti)
    txnOf.set(jti, txn)
  }
  return faults
}

/** Two SETs that were under way at the same time have no order that is known outside. */
function staleIn(
  stream: string,
  first: ReadonlyMap<string, number>,
  byTxn: ReadonlyMap<string, Accepted>,
): string[] {
  /** Of each subject the latest first push among the tightening SETs that have come. */
  const newest = new Map<string, { sentAtMs: number; txn: string }>()
  const faults: string[] = []
  for (const txn of first.keys()) {
    const { subject, effect, sentAtMs, acceptedAtMs } = byTxn.get(txn) ?? {}
    if (subject === undefined || sentAtMs === undefined || acceptedAtMs === undefined) continue
    const tightening = newest.get(subject)
    if (effect === 'loosens' && tightening && acceptedAtMs < tightening.sentAtMs) {
      faults.push(`L3: ${stream}: ${txn} reopens ${subject} after the newer ${tightening.txn}`)
    }
    if (effect === 'tightens' && sentAtMs > (tightening?.sentAtMs ?? Number.NEGATIVE_INFINITY)) {
      newest.set(subject, { sentAtMs, txn })
    }
  }
  return faults
}

/** Read, not verified: the tests of minting verify. */
export function claimsOf(set: string): {
  txn: string
  jti: string
  iss: string
  aud: string
  events: object
} {
  const payload = Buffer.from(set.split('.')[1] ?? '', 'base64url').toString('utf8')
  return JSON.parse(payload) as { txn: string; jti: string; iss: string; aud: string; events: object }
}
