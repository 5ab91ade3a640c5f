import assert from 'node:assert/strict'
import { createLedger, type Ledger } from '../support/ledger.js'
import { parseModule } from '../support/module-imports.js'
import { readText } from '../support/source-files.js'
import { blindSpots } from './blind-spots.js'

const setOf = (txn: string, jti = txn) =>
  `e30.${Buffer.from(JSON.stringify({ txn, jti })).toString('base64url')}.e30`

describe('the ledger that judges the fault suite', () => {
  let ledger: Ledger
  const take = (...txns: string[]) => {
    for (const txn of txns) ledger.received('point', setOf(txn))
  }

  beforeEach(() => {
    ledger = createLedger()
    ledger.expect('point')
  })

  it('imports nothing of the hub', () => {
    const { imports } = parseModule('test/support/ledger.ts', readText('test/support/ledger.ts'))
    assert.deepEqual(imports, [])
  })

  it('reports nothing of a good run', () => {
    for (const txn of ['a', 'b']) ledger.accepted(txn)
    take('a', 'b')
    assert.deepEqual(
      [
        ledger.lost(),
        ledger.doubled(),
        ledger.stale(),
        ledger.repeated(0),
        ledger.unequal('point', [
          { txn: 'a', outcome: 'received' },
          { txn: 'b', outcome: 'received' },
        ]),
      ],
      [[], [], [], [], []],
    )
    assert.deepEqual(blindSpots(ledger), [])
  })

  it('sees an acknowledged SET that never came (L1)', () => {
    for (const txn of ['a', 'b']) ledger.accepted(txn)
    take('a')
    assert.match(ledger.lost().join(), /point misses 1, e\.g\. b/)
    assert.equal(ledger.complete(), false)
  })

  it('expects of a stream only what came after it was there', () => {
    ledger.accepted('before')
    ledger.expect('later')
    assert.deepEqual(ledger.missing('later'), [])
    ledger.release('point')
    assert.equal(ledger.complete(), true)
  })

  it('sees one event under two jtis, and one jti for two events (L2)', () => {
    ledger.received('point', setOf('a', 'one'))
    ledger.received('point', setOf('a', 'two'))
    ledger.received('point', setOf('b', 'one'))
    assert.equal(ledger.doubled().length, 2)
  })

  it('sees a loosening SET come first after a newer tightening one of its subject (L3)', () => {
    const subject = 'ada'
    ledger.accepted('opens', { subject, sentAtMs: performance.now(), effect: 'loosens' })
    ledger.accepted('closes', { subject, sentAtMs: performance.now() + 1, effect: 'tightens' })
    take('closes')
    assert.deepEqual(ledger.stale(), [])
    // What is not sent any more is not lost.
    assert.deepEqual(ledger.lost(), [])
    take('opens')
    assert.match(ledger.stale().join(), /opens reopens ada after the newer closes/)
  })

  it('judges no order of two SETs that were under way at the same time', () => {
    const sentAtMs = performance.now() - 50
    ledger.accepted('opens', { subject: 'ada', sentAtMs, effect: 'loosens' })
    ledger.accepted('closes', { subject: 'ada', sentAtMs, effect: 'tightens' })
    take('closes', 'opens')
    assert.deepEqual(ledger.stale(), [])
  })

  it('sees what is noted and was not taken, taken and not noted, superseded by nothing (L4)', () => {
    for (const txn of ['a', 'b', 'c']) ledger.accepted(txn)
    take('a')
    const faults = ledger.unequal('point', [
      { txn: 'b', outcome: 'received' },
      { txn: 'c', outcome: 'superseded' },
    ])
    assert.equal(faults.length, 3)
  })

  it('believes that a SET was taken back only when the database says so (L4)', () => {
    const subject = 'ada'
    ledger.accepted('opens', { subject, sentAtMs: performance.now(), effect: 'loosens' })
    ledger.accepted('closes', { subject, sentAtMs: performance.now(), effect: 'tightens' })
    take('closes')
    const closes = { txn: 'closes', outcome: 'received' }
    assert.deepEqual(ledger.lost(), [])
    assert.match(ledger.unequal('point', [closes]).join(), /opens was neither taken nor superseded/)
    assert.deepEqual(ledger.unequal('point', [closes, { txn: 'opens', outcome: 'superseded' }]), [])
    ledger.excuse()
    assert.deepEqual(ledger.unequal('point', [closes]), [])
  })

  it('forgives the loss of what was accepted before it is excused, and of nothing later (L1)', () => {
    ledger.accepted('on the disk')
    ledger.excuse()
    assert.equal(ledger.complete(), true)
    assert.deepEqual(ledger.missing('point'), ['on the disk'])
    ledger.accepted('later')
    assert.equal(ledger.complete(), false)
    assert.match(ledger.lost().join(), /point misses 1, e\.g\. later/)
  })

  it('counts repeats and sees too many (L5)', () => {
    ledger.accepted('a')
    take('a', 'a', 'a')
    assert.equal(ledger.duplicates('point'), 2)
    assert.deepEqual(ledger.repeated(2), [])
    assert.match(ledger.repeated(1).join(), /point got 2 repeats, 1 at most/)
  })

  it('tells how long after a moment the last SET of before it came (L6)', () => {
    ledger.accepted('a')
    const end = performance.now()
    ledger.accepted('b')
    take('a', 'b')
    const [first] = ledger.receipts('point')
    assert.equal(ledger.recoveryMs(end), (first?.atMs ?? 0) - end)
  })

  it('takes times to revoke from the first push to the first receipt, inside a window', () => {
    const sentAtMs = performance.now()
    ledger.accepted('early', { sentAtMs: sentAtMs - 10_000 })
    ledger.accepted('inside', { sentAtMs })
    take('early', 'inside', 'inside')
    const times = ledger.timesToRevoke({ fromMs: sentAtMs - 1, toMs: sentAtMs + 1 })
    assert.deepEqual(times, [(ledger.receipts('point')[1]?.atMs ?? 0) - sentAtMs])
  })
})
