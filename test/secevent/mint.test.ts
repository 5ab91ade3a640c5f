import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { CAEP, RISC } from '../../src/secevent/event-types.js'
import { mintClaims, mintJti } from '../../src/secevent/mint.js'

const subject = { format: 'email', email: 'jane@example.com' }
const stored = {
  type: CAEP.sessionRevoked,
  subject,
  claims: { event_timestamp: 7 },
  txn: 'cause-1',
  acceptedAtMs: 1999,
}
const to = { issuer: 'https://hub.example.com', audience: 'https://gw.example.com', jti: 'j1' }

describe('mintClaims', () => {
  it('is a pure function: the same input gives the same text, and is left as it was', () => {
    const before = JSON.stringify(stored)
    assert.equal(
      JSON.stringify(mintClaims({ event: stored, ...to })),
      JSON.stringify(mintClaims({ event: stored, ...to })),
    )
    assert.equal(JSON.stringify(stored), before)
  })

  it('rounds iat down, never up', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 4e12, noNaN: true }), (acceptedAtMs) => {
        const { iat } = mintClaims({ event: { ...stored, acceptedAtMs }, ...to })
        assert.ok(Number.isInteger(iat) && (iat as number) * 1000 <= acceptedAtMs)
      }),
    )
  })

  it('leaves out members that the type does not declare', () => {
    const claims = { event_timestamp: 7, reason: 'hijacking', vendor: true }
    const events = (type: string) => mintClaims({ event: { ...stored, type, claims }, ...to }).events
    assert.deepEqual(events(RISC.accountDisabled), { [RISC.accountDisabled]: { reason: 'hijacking' } })
    assert.deepEqual(events(CAEP.sessionRevoked), { [CAEP.sessionRevoked]: { event_timestamp: 7 } })
  })
})

describe('mintJti', () => {
  const hmac = (data: string) => createHmac('sha256', 'key').update(data).digest()

  it('is the day and 128 bits that depend on event and receiver', () => {
    const jti = mintJti(hmac, 'event-1', 'receiver-1', '2026-11-22')
    assert.match(jti, /^20261122-[A-Za-z0-9_-]{22}$/)
    assert.equal(mintJti(hmac, 'event-1', 'receiver-1', '2026-11-22'), jti)
    assert.notEqual(mintJti(hmac, 'event-2', 'receiver-1', '2026-11-22'), jti)
    assert.notEqual(mintJti(hmac, 'event-1', 'receiver-2', '2026-11-22'), jti)
  })
})
