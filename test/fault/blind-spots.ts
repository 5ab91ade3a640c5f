import type { Ledger } from '../support/ledger.js'

const setWith = (txn: string, jti: string) =>
  `e30.${Buffer.from(JSON.stringify({ txn, jti })).toString('base64url')}.e30`

/**
 * A check that cannot fail shows nothing. After a row held, its ledger is told of faults that did not happen; each that
 * it does not report is answered, in words. The ledger is of no use afterwards.
 */
export function blindSpots(ledger: Ledger): string[] {
  const [stream] = ledger.streams()
  if (stream === undefined) return []
  const seen: [check: string, reports: boolean][] = []
  seen.push(['L4', ledger.receipts(stream).length === 0 || ledger.unequal(stream, []).length > 0])
  ledger.accepted('lost on purpose')
  seen.push(['L1', ledger.lost().length > 0])
  for (const jti of ['one jti', 'another jti']) ledger.received(stream, setWith('doubled on purpose', jti))
  seen.push(['L2', ledger.doubled().length > 0])
  const order = { subject: 'reopened on purpose', sentAtMs: performance.now() }
  ledger.accepted('older', { ...order, effect: 'loosens' })
  ledger.accepted('newer', { ...order, sentAtMs: performance.now() + 1, effect: 'tightens' })
  // Nobody says that it is superseded.
  const forgiven = ledger.unequal(stream, []).some((fault) => fault.includes('older was neither taken'))
  seen.push(['L4', forgiven])
  for (const txn of ['newer', 'older']) ledger.received(stream, setWith(txn, txn))
  seen.push(['L3', ledger.stale().length > 0])
  const already = ledger.duplicates(stream)
  ledger.received(stream, setWith('newer', 'newer'))
  seen.push(['L5', ledger.repeated(already).length > 0])
  return seen
    .filter(([, reports]) => !reports)
    .map(([check]) => `${check} reports nothing of a fault put in on purpose`)
}
