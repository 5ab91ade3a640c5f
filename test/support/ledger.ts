import assert from 'node:assert/strict'

interface Receipt {
  readonly txn: string
  readonly jti: string
  /** On this process's monotonic clock, ms. */
  readonly atMs: number
}

/**
 * What happened, as seen outside the hub: which SETs were answered 202, and which SETs came out of each stream, in
 * order. Every pushed SET has a txn of its own, which the hub passes on.
 */
export interface Ledger {
  /** This stream is there: what is accepted from now on must come out of it. Only while nothing is being pushed. */
  expect(stream: string): void
  /** Nothing more is expected of this stream: a test made it lose or keep back SETs. */
  release(stream: string): void
  /** Names of the streams that are expected to get every SET. */
  streams(): string[]
  /** The hub answered 202 to the SET with this txn. */
  accepted(txn: string): void
  /** A SET came out of this stream. Answers its jti. */
  received(stream: string, set: string): string
  acceptedCount(): number
  /** Accepted SETs that did not come out of the stream. */
  missing(stream: string): string[]
  receipts(stream: string): readonly Receipt[]
  /** SETs that came more than once under the same jti. */
  duplicates(stream: string): number
  /** True when nothing is missing on any expected stream. */
  complete(): boolean
  /** L1: nothing acknowledged is missing. L2: after dedupe by jti each event is there once. On every expected stream. */
  check(): void
}

export function createLedger(): Ledger {
  const accepted: string[] = []
  const expectedFrom = new Map<string, number>()
  const logs = new Map<string, Receipt[]>()
  const logOf = (stream: string): Receipt[] => {
    const log = logs.get(stream) ?? []
    logs.set(stream, log)
    return log
  }
  const ledger: Ledger = {
    expect: (stream) => void expectedFrom.set(stream, accepted.length),
    release: (stream) => void expectedFrom.delete(stream),
    streams: () => [...expectedFrom.keys()],
    accepted: (txn) => void accepted.push(txn),
    received(stream, set) {
      const { txn, jti } = claimsOf(set)
      logOf(stream).push({ txn, jti, atMs: performance.now() })
      return jti
    },
    acceptedCount: () => accepted.length,
    missing(stream) {
      const seen = new Set(logOf(stream).map((receipt) => receipt.txn))
      return accepted.slice(expectedFrom.get(stream) ?? 0).filter((txn) => !seen.has(txn))
    },
    receipts: logOf,
    duplicates: (stream) => logOf(stream).length - new Set(logOf(stream).map(({ jti }) => jti)).size,
    complete: () => ledger.streams().every((stream) => ledger.missing(stream).length === 0),
    check() {
      for (const stream of ledger.streams()) {
        const missing = ledger.missing(stream)
        assert.equal(missing.length, 0, `${stream} misses ${missing.length}, e.g. ${missing.slice(0, 3)}`)
        checkOneEffect(stream, logOf(stream))
      }
    },
  }
  return ledger
}

function checkOneEffect(stream: string, log: readonly Receipt[]): void {
  const jtiOf = new Map<string, string>()
  const txnOf = new Map<string, string>()
  for (const { txn, jti } of log) {
    assert.equal(jtiOf.get(txn) ?? jti, jti, `${stream} got ${txn} under two jtis`)
    assert.equal(txnOf.get(jti) ?? txn, txn, `${stream} got one jti for two events`)
    jtiOf.set(txn, jti)
    txnOf.set(jti, txn)
  }
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
