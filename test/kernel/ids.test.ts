import assert from 'node:assert/strict'
import { createEventIds, eventIdTimeMs, newSecret } from '../../src/kernel/ids.js'

const at = (ms: number) => ({ now: () => ms, monotonicMs: () => ms })
const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

describe('event ids', () => {
  it('are UUIDv7 that carry the accept time', () => {
    const id = createEventIds(at(1_800_000_000_123.5))()
    assert.match(id, UUID_V7)
    assert.equal(eventIdTimeMs(id), 1_800_000_000_123)
  })

  it('rise strictly inside a process, however fast they are asked for', () => {
    const next = createEventIds(at(1_800_000_000_000))
    const ids = Array.from({ length: 5_000 }, next)
    assert.deepEqual([...ids].sort(), ids)
    assert.equal(new Set(ids).size, ids.length)
  })

  it('go on rising when the clock steps back', () => {
    let now = 1_800_000_000_000
    const next = createEventIds({ now: () => now, monotonicMs: () => now })
    const before = next()
    now -= 60_000
    assert.ok(next() > before)
  })

  it('sort by accept time between processes', () => {
    const early = createEventIds(at(1_800_000_000_000))()
    const late = createEventIds(at(1_800_000_000_001))()
    assert.ok(early < late)
  })
})

describe('secrets', () => {
  it('are 256 random bits behind a readable prefix', () => {
    const secret = newSecret('fbk_op')
    assert.match(secret, /^fbk_op_[A-Za-z0-9_-]{43}$/)
    assert.notEqual(secret, newSecret('fbk_op'))
  })
})
