import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { createEventIds, eventIdTimeMs } from '../../src/kernel/ids.js'
import { createJtiCodec } from '../../src/secevent/delivery-jti.js'

const codecOf = (secret: string) =>
  createJtiCodec((data) => createHmac('sha256', secret).update(data).digest())
const jtis = codecOf('key')
const nextId = createEventIds({ now: () => Date.UTC(2026, 10, 22, 23, 59, 59, 999), monotonicMs: () => 0 })

describe('the jti of a delivery', () => {
  it('is the day and 128 bits, the same each time, and another for another event, receiver or hub', () => {
    const [event, later] = [nextId(), nextId()]
    const jti = jtis.mint(event, 'receiver-1')
    assert.match(jti, /^20261122-[A-Za-z0-9_-]{22}$/)
    assert.equal(codecOf('key').mint(event, 'receiver-1'), jti)
    const others = [
      jtis.mint(later, 'receiver-1'),
      jtis.mint(event, 'receiver-2'),
      codecOf('key 2').mint(event, 'receiver-1'),
    ]
    assert.equal(new Set([jti, ...others]).size, 4)
  })

  it('shows nothing of the event: neighbours in time have nothing in common', () => {
    const marks = Array.from({ length: 500 }, () => jtis.mint(nextId(), 'receiver-1').slice(9))
    for (const at of [0, 7, 14, 20]) assert.ok(new Set(marks.map((mark) => mark[at])).size > 30)
  })

  it('is read back for its own receiver, and for nobody else', () => {
    fc.assert(
      fc.property(fc.integer({ min: 978_307_200_000, max: 2_147_000_000_000 }), fc.uuid(), (ms, receiver) => {
        const event = createEventIds({ now: () => ms, monotonicMs: () => 0 })()
        assert.equal(eventIdTimeMs(event), ms)
        const jti = jtis.mint(event, receiver)
        assert.equal(jtis.read(jti, receiver), event)
        assert.equal(jtis.read(jti, 'another receiver'), undefined)
        assert.equal(codecOf('another hub').read(jti, receiver), undefined)
      }),
    )
  })

  it('is not read when a character, the day or the spelling is another', () => {
    const jti = jtis.mint(nextId(), 'receiver-1')
    const other = (character: string) => (character === 'A' ? 'B' : 'A')
    for (let at = 0; at < jti.length; at += 1) {
      const altered = jti.slice(0, at) + other(jti[at] as string) + jti.slice(at + 1)
      assert.equal(jtis.read(altered, 'receiver-1'), undefined, altered)
    }
    assert.equal(jtis.read(`20261121${jti.slice(8)}`, 'receiver-1'), undefined)
    // The last of 22 characters carries two bits: fifteen others decode to the same bytes.
    const same = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_']
      .map((last) => jti.slice(0, -1) + last)
      .filter((text) => text !== jti)
      .filter((text) => jtis.read(text, 'receiver-1') !== undefined)
    assert.deepEqual(same, [])
    for (const text of [
      '',
      'x',
      '20261122-',
      `${jti} `,
      `1${jti}`,
      `\n${jti}`,
      `${jti}\n`,
      jti.replace('-', ''),
      `${jti}A`,
      jti.slice(0, -1),
      '20261399-'.padEnd(31, 'A'),
    ]) {
      assert.equal(jtis.read(text, 'receiver-1'), undefined, text)
    }
  })

  it('is not read when random bytes happen to be named: none of 20,000 is an event', () => {
    const found = Array.from({ length: 20_000 }, (_, n) => {
      const mark = createHmac('sha256', 'guess').update(String(n)).digest().subarray(0, 16)
      return jtis.read(`20261122-${mark.toString('base64url')}`, 'receiver-1')
    }).filter((event) => event !== undefined)
    assert.deepEqual(found, [])
  })
})
