import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import type { Subject } from '../../src/secevent/event.js'
import { canonicalSubject, parseSubject } from '../../src/secevent/subject.js'
import { shardOf } from '../../src/streams/stream.js'
import { eventMatchHashes, subjectIndexRows } from '../../src/streams/subject-index.js'

const hmac = (text: string): Buffer => createHmac('sha256', 'key').update(text).digest()
const text = fc.string({ minLength: 1, maxLength: 6 })
const simple = fc.oneof(
  text.map((id): Subject => ({ format: 'opaque', id })),
  fc.tuple(text, text).map(([iss, sub]): Subject => ({ format: 'iss_sub', iss, sub })),
)
const complex = fc
  .dictionary(fc.constantFrom('user', 'device', 'session', 'constructor', 'x\ny'), simple, { minKeys: 1 })
  .map((members): Subject => ({ format: 'complex', ...members }))
const keysOf = (subject: Subject): string =>
  eventMatchHashes(subject, hmac)
    .map((key) => `${key.member}:${key.hash.toString('hex')}`)
    .sort()
    .join()

describe('streams: subject index', () => {
  it('gives equal keys to identical subjects, and to no others', () => {
    const any = fc.oneof(simple, complex).map(parseSubject)
    fc.assert(
      fc.property(any, any, (a, b) => {
        assert.equal(keysOf(a) === keysOf(b), canonicalSubject(a) === canonicalSubject(b))
        assert.equal(keysOf(a), keysOf(parseSubject(JSON.parse(JSON.stringify(a)))))
      }),
    )
  })

  it('gives a simple subject one row of its own, and a complex one a row per member', () => {
    const one = subjectIndexRows({ format: 'opaque', id: 'x' }, hmac)
    assert.equal(one.rows.length, 1)
    assert.equal(one.complexHash.length, 0)
    const ann: Subject = { format: 'opaque', id: 'ann' }
    const two = subjectIndexRows({ format: 'complex', user: ann, device: ann }, hmac)
    assert.deepEqual(two.rows.map((row) => row.member).sort(), ['device', 'user'])
    assert.notDeepEqual(two.rows[0]?.hash, two.rows[1]?.hash)
    assert.equal(two.complexHash.length, 32)
  })

  it('spreads streams over all 256 shards, the same each time', () => {
    const shards = new Set(Array.from({ length: 5000 }, (_, i) => shardOf(`stream-${i}`)))
    assert.equal(shards.size, 256)
    assert.equal(
      shardOf('11111111-1111-4111-8111-111111111111'),
      shardOf('11111111-1111-4111-8111-111111111111'),
    )
    assert.ok([...shards].every((shard) => Number.isInteger(shard) && shard >= 0 && shard < 256))
  })
})
