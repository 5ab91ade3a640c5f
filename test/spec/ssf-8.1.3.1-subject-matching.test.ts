import assert from 'node:assert/strict'
import { parseSubject, subjectsMatch } from '../../src/secevent/subject.js'

const user = { format: 'email', email: 'jdoe@example.com' }
const other = { format: 'email', email: 'other@example.com' }
const tenant = { format: 'opaque', id: 'example-a38h4792-uw2' }
const device = { format: 'ip-addresses', 'ip-addresses': ['10.29.37.75'] }

const match = (added: unknown, event: unknown) => subjectsMatch(parseSubject(added), parseSubject(event))

describe('SSF 1.0 §8.1.3.1 subject matching', () => {
  it('matches identical simple subjects and no others (T-34)', () => {
    assert.ok(match(user, { ...user }))
    assert.ok(!match(user, other))
    assert.ok(!match(user, { format: 'opaque', id: user.email }))
  })

  it('matches the example in which the receiver asked for less than the event says (T-35)', () => {
    assert.ok(match({ format: 'complex', tenant }, { format: 'complex', tenant, user }))
  })

  it('matches the example in which the receiver asked for more than the event says (T-35)', () => {
    assert.ok(match({ format: 'complex', user, device }, { format: 'complex', user }))
  })

  it('does not match when one member that both have differs (T-35)', () => {
    assert.ok(!match({ format: 'complex', tenant, user }, { format: 'complex', tenant, user: other }))
  })

  it('does not match two complex subjects without a common member, whatever the letter says (T-36)', () => {
    const [a, b] = [
      { format: 'complex', user },
      { format: 'complex', device },
    ]
    assert.ok(!match(a, b))
  })

  it('does not match a simple subject with a complex one (T-37)', () => {
    assert.ok(!match(user, { format: 'complex', user }))
    assert.ok(!match({ format: 'complex', user }, user))
  })

  it('matches aliases only as a whole, in any order (T-37)', () => {
    const aliases = { format: 'aliases', identifiers: [user, other] }
    assert.ok(match(aliases, { format: 'aliases', identifiers: [other, user] }))
    assert.ok(!match(aliases, { format: 'aliases', identifiers: [user] }))
    assert.ok(!match(aliases, user))
  })

  it('matches address lists as exact sets (T-37)', () => {
    const both = { format: 'ip-addresses', 'ip-addresses': ['10.0.0.1', '10.0.0.2'] }
    assert.ok(match(both, { ...both, 'ip-addresses': ['10.0.0.2', '10.0.0.1'] }))
    assert.ok(!match(both, { ...both, 'ip-addresses': ['10.0.0.1'] }))
  })
})
