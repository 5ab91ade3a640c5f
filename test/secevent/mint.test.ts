import assert from 'node:assert/strict'
import fc from 'fast-check'
import { CAEP, RISC } from '../../src/secevent/event-types.js'
import { mintClaims } from '../../src/secevent/mint.js'

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
