import assert from 'node:assert/strict'
import fc from 'fast-check'
import { createPendingQueue, type Pending } from '../../src/delivery/pending-queue.js'
import { type AccessEffect, LANES, type Lane } from '../../src/secevent/event.js'

const item = (eventId: string, effect: AccessEffect, orderKey = 'alice', lane: Lane = 'urgent'): Pending => ({
  eventId,
  effect,
  orderKey,
  lane,
  bytes: 100,
  sourceId: 'source',
  txn: 'cause',
})

describe('pending queue', () => {
  it('gives items of a lane in the order they came, one at a time per subject', () => {
    const queue = createPendingQueue()
    queue.push(item('1', 'tightens'))
    queue.push(item('2', 'tightens'))
    queue.push(item('3', 'tightens', 'bob'))
    const first = queue.take('urgent')
    assert.equal(first?.eventId, '1')
    assert.equal(queue.take('urgent')?.eventId, '3')
    assert.equal(queue.take('urgent'), undefined)
    queue.finish(first as Pending)
    assert.equal(queue.take('urgent')?.eventId, '2')
  })

  it('counts what waits, and nothing of what is taken, stale or cleared', () => {
    const waiting = { items: 0, bytes: 0 }
    const queue = createPendingQueue((change, bytes) => {
      waiting.items += change
      waiting.bytes += change * bytes
    })
    queue.push(item('1', 'loosens'))
    queue.push(item('1', 'loosens'))
    queue.push(item('2', 'neutral', ''))
    queue.push(item('3', 'loosens', 'bob'))
    assert.deepEqual(waiting, { items: 3, bytes: 300 })
    queue.push(item('4', 'tightens'))
    assert.deepEqual(waiting, { items: 3, bytes: 300 }, 'the stale one is gone')
    queue.take('urgent')
    assert.deepEqual(waiting, { items: 2, bytes: 200 })
    queue.clear()
    assert.deepEqual(waiting, { items: 0, bytes: 0 })
  })

  it('goes round by source and in a source by cause, whatever came first', () => {
    const queue = createPendingQueue()
    const push = (eventId: string, sourceId: string, txn: string) =>
      queue.push({ ...item(eventId, 'tightens', eventId), sourceId, txn })
    for (let index = 0; index < 300; index += 1) push(`a${index}`, 'idp', 'logout')
    push('b1', 'idp', 'theft')
    push('b2', 'idp', 'theft')
    // A name of its own for each event wins a source no turns from the others.
    for (let index = 0; index < 300; index += 1) push(`c${index}`, 'noisy', `txn ${index}`)
    push('d1', 'itdr', 'theft')
    const order = Array.from({ length: 9 }, () => queue.take('urgent')?.eventId)
    assert.deepEqual(order, ['a0', 'c0', 'd1', 'b1', 'c1', 'a1', 'c2', 'b2', 'c3'])
    assert.equal(queue.waiting('urgent'), 603 - 9)
  })

  it('finds what may go behind hundreds of one busy subject: of another source, and of another cause', () => {
    const queue = createPendingQueue()
    const push = (eventId: string, subject: string, sourceId: string, txn: string) =>
      queue.push({ ...item(eventId, 'tightens', subject), sourceId, txn })
    for (let index = 0; index < 300; index += 1) push(`a${index}`, 'alice', 'idp', 'logout')
    assert.equal(queue.take('urgent')?.eventId, 'a0')
    push('b1', 'bob', 'itdr', 'theft')
    push('b2', 'carol', 'idp', 'theft')
    const found = [queue.take('urgent')?.eventId, queue.take('urgent')?.eventId]
    assert.deepEqual(found.toSorted(), ['b1', 'b2'])
    assert.equal(queue.take('urgent'), undefined, 'alice is busy')
    // Each a cause of its own: more than one look goes through.
    for (let index = 0; index < 2_000; index += 1) push(`c${index}`, 'alice', 'noisy', `txn ${index}`)
    push('d1', 'dave', 'noisy', 'theft')
    push('d2', 'erin', 'itdr', 'theft')
    assert.equal(queue.take('urgent')?.eventId, 'd2')
    assert.equal([queue.take('urgent'), queue.take('urgent')].find((one) => one)?.eventId, 'd1')
  })

  it('sends the older item of a subject in the turn of the newer one, and that one in the next', () => {
    const queue = createPendingQueue()
    const push = (eventId: string, subject: string, txn: string) =>
      queue.push({ ...item(eventId, 'tightens', subject), txn })
    for (let index = 0; index < 300; index += 1) push(`a${index}`, `user ${index}`, 'logout')
    push('a900', 'alice', 'logout')
    push('b901', 'alice', 'theft')
    const take = () => queue.take('urgent') as Pending
    assert.equal(take().eventId, 'a0')
    const older = take()
    assert.equal(older.eventId, 'a900')
    assert.deepEqual([take().eventId, take().eventId], ['a1', 'a2'], 'alice is busy')
    queue.finish(older)
    assert.equal(take().eventId, 'b901')
    assert.equal(queue.holdsCauseOf({ ...item('x', 'tightens'), txn: 'theft' }), false)
    assert.equal(queue.holdsCauseOf({ ...item('x', 'tightens'), txn: 'logout' }), true)
    const rest = Array.from({ length: 297 }, () => take().eventId)
    assert.deepEqual([rest[0], rest.at(-1), queue.waiting()], ['a3', 'a299', 0])
    assert.equal(queue.take('urgent'), undefined)
  })

  it('names a waiting loosening item stale when a newer tightening one of its subject comes', () => {
    const queue = createPendingQueue()
    queue.push(item('1', 'loosens', 'alice', 'routine'))
    queue.push(item('2', 'loosens', 'bob', 'routine'))
    const stale = queue.push(item('3', 'tightens'))
    assert.deepEqual(
      stale.map(({ eventId }) => eventId),
      ['1'],
    )
    assert.equal(queue.take('routine')?.eventId, '2')
    assert.equal(queue.take('routine'), undefined)
  })

  it('remembers what was settled while held, because a claim may show it as still open', () => {
    const queue = createPendingQueue()
    queue.push(item('1', 'tightens'))
    queue.hold()
    queue.finish(queue.take('urgent') as Pending)
    queue.settle('1')
    assert.equal(queue.has('1'), true)
    queue.release()
    assert.equal(queue.has('1'), false)
  })

  it('keeps a loosening item that is newer than the tightening one', () => {
    const queue = createPendingQueue()
    queue.push(item('5', 'tightens'))
    assert.deepEqual(queue.push(item('6', 'loosens', 'alice', 'routine')), [])
    assert.equal(queue.waiting('routine'), 1)
  })

  it('remembers a finished tightening item while a claim is under way', () => {
    const queue = createPendingQueue()
    queue.hold()
    queue.push(item('9', 'tightens'))
    const taken = queue.take('urgent') as Pending
    queue.finish(taken)
    queue.settle('9')
    const stale = queue.push(item('8', 'loosens', 'alice', 'routine'))
    assert.equal(stale.length, 1)
    queue.release()
    assert.deepEqual(queue.push(item('7', 'loosens', 'alice', 'routine')), [])
  })

  it('knows an item until its result is written, so that a claim does not send it twice', () => {
    const queue = createPendingQueue()
    queue.push(item('1', 'neutral'))
    const taken = queue.take('urgent') as Pending
    queue.finish(taken)
    assert.ok(queue.has('1'))
    queue.push(item('1', 'neutral'))
    assert.equal(queue.waiting(), 0)
    queue.settle('1')
    assert.ok(!queue.has('1'))
  })

  it('never starts a loosening item after a newer tightening one of its subject (property)', () => {
    const event = fc.record({
      subject: fc.constantFrom('alice', 'bob', ''),
      effect: fc.constantFrom<AccessEffect>('tightens', 'loosens', 'neutral'),
      lane: fc.constantFrom<Lane>(...LANES),
      txn: fc.constantFrom('one', 'two'),
    })
    const step = fc.oneof(
      fc.record({ do: fc.constant('push' as const), at: fc.nat(60), event }),
      fc.record({ do: fc.constant('take' as const), lane: fc.constantFrom<Lane>(...LANES) }),
      fc.record({ do: fc.constant('finish' as const), at: fc.nat(5) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const queue = createPendingQueue<Pending>()
        // As around a claim from the table: what was sent meanwhile must be remembered.
        queue.hold()
        const inFlight: Pending[] = []
        const newestStarted = new Map<string, string>()
        for (const current of steps) {
          if (current.do === 'push') {
            const { subject, effect, lane, txn } = current.event
            queue.push({ ...item(String(current.at).padStart(4, '0'), effect, subject, lane), txn })
          } else if (current.do === 'take') {
            const taken = queue.take(current.lane)
            if (!taken) continue
            if (taken.orderKey !== '') {
              assert.ok(
                !inFlight.some((other) => other.orderKey === taken.orderKey),
                'two of one subject at once',
              )
              if (taken.effect === 'loosens') {
                assert.ok(
                  taken.eventId >= (newestStarted.get(taken.orderKey) ?? ''),
                  'a stale loosening was started',
                )
              }
              if (taken.effect === 'tightens') {
                const newest = newestStarted.get(taken.orderKey) ?? ''
                newestStarted.set(taken.orderKey, taken.eventId > newest ? taken.eventId : newest)
              }
            }
            inFlight.push(taken)
          } else {
            const [done] = inFlight.splice(current.at % Math.max(inFlight.length, 1), 1)
            if (done) {
              queue.finish(done)
              queue.settle(done.eventId)
            }
          }
        }
      }),
      { numRuns: 500 },
    )
  })
})
