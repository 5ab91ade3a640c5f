import assert from 'node:assert/strict'
import fc from 'fast-check'
import { newId } from '../../src/kernel/ids.js'
import type { Subject } from '../../src/secevent/event.js'
import { CAEP } from '../../src/secevent/event-types.js'
import { canonicalSubject, parseSubject } from '../../src/secevent/subject.js'
import { createStreamMatcher } from '../../src/streams/stream-matching.js'
import { createSsfHarness, type SsfHarness, type TestReceiver } from '../streams/ssf-harness.js'

const user = { format: 'email', email: 'jdoe@example.com' }
const other = { format: 'email', email: 'other@example.com' }
const tenant = { format: 'opaque', id: 'example-a38h4792-uw2' }
const device = { format: 'ip-addresses', 'ip-addresses': ['10.29.37.75'] }

describe('SSF 1.0 §8.1.3.1 subject matching', () => {
  let ssf: SsfHarness
  let receiver: TestReceiver
  before(async () => {
    ssf = await createSsfHarness()
    receiver = await ssf.addReceiver('gateway', { defaultSubjects: 'NONE' })
  })
  after(() => ssf.close())

  /** A new stream that has added the subject. */
  async function addTo(subject: unknown): Promise<string> {
    const streamId = await ssf.createStream(receiver, { events_requested: [CAEP.sessionRevoked] })
    await ssf.subjects.add(receiver.id, streamId, parseSubject(subject), true)
    return streamId
  }

  /** Of each event, the streams that take it. */
  async function takersOf(subjects: readonly Subject[], literalComplex = false): Promise<string[][]> {
    const events = subjects.map((subject) => ({
      eventId: newId(),
      type: CAEP.sessionRevoked,
      sourceId: newId(),
      subject,
    }))
    const hmac = (text: string) => ssf.keys.hmac('subject', text)
    const match = createStreamMatcher({ hmac, subjectRemovalGraceS: 0, literalComplex })
    const takers = await match(
      ssf.db,
      events.map((event) => ({ event })),
    )
    return events.map(({ eventId }) =>
      takers.filter((taker) => taker.eventId === eventId).map(({ streamId }) => streamId),
    )
  }

  async function match(added: unknown, event: unknown, literalComplex = false): Promise<boolean> {
    const streamId = await addTo(added)
    const [takers] = await takersOf([parseSubject(event)], literalComplex)
    return takers?.includes(streamId) ?? false
  }

  it('matches identical simple subjects and no others (T-34)', async () => {
    assert.ok(await match(user, { ...user }))
    assert.ok(!(await match(user, other)))
    assert.ok(!(await match(user, { format: 'opaque', id: user.email })))
  })

  it('matches the example in which the receiver asked for less than the event says (T-35)', async () => {
    assert.ok(await match({ format: 'complex', tenant }, { format: 'complex', tenant, user }))
  })

  it('matches the example in which the receiver asked for more than the event says (T-35)', async () => {
    assert.ok(await match({ format: 'complex', user, device }, { format: 'complex', user }))
  })

  it('does not match when one member that both have differs (T-35)', async () => {
    assert.ok(!(await match({ format: 'complex', tenant, user }, { format: 'complex', tenant, user: other })))
  })

  it('does not match two complex subjects without a common member, unless the letter is asked for (T-36)', async () => {
    const [a, b] = [
      { format: 'complex', user },
      { format: 'complex', device },
    ]
    assert.ok(!(await match(a, b)))
    assert.ok(await match(a, b, true))
    assert.ok(!(await match(a, { format: 'complex', user: other, device }, true)))
    assert.ok(!(await match(a, device, true)))
  })

  it('does not match a simple subject with a complex one (T-37)', async () => {
    assert.ok(!(await match(user, { format: 'complex', user })))
    assert.ok(!(await match({ format: 'complex', user }, user)))
  })

  it('matches aliases only as a whole, in any order (T-37)', async () => {
    const aliases = { format: 'aliases', identifiers: [user, other] }
    assert.ok(await match(aliases, { format: 'aliases', identifiers: [other, user] }))
    assert.ok(!(await match(aliases, { format: 'aliases', identifiers: [user] })))
    assert.ok(!(await match(aliases, user)))
  })

  it('matches address lists as exact sets (T-37)', async () => {
    const both = { format: 'ip-addresses', 'ip-addresses': ['10.0.0.1', '10.0.0.2'] }
    assert.ok(await match(both, { ...both, 'ip-addresses': ['10.0.0.2', '10.0.0.1'] }))
    assert.ok(!(await match(both, { ...both, 'ip-addresses': ['10.0.0.1'] })))
  })

  for (const literal of [false, true]) {
    it(`matches any two subjects as the rule says, ${literal ? 'to the letter' : 'as mended'} (T-34 to T-37)`, () =>
      matchesAny(literal))
  }

  async function matchesAny(literal: boolean): Promise<void> {
    const simple = fc.constantFrom<Subject>(user, other, tenant, device)
    const complex = fc
      .dictionary(fc.constantFrom('user', 'session', 'tenant', 'device'), simple, { minKeys: 1 })
      .map((members): Subject => ({ format: 'complex', ...members }))
    const aliases = fc
      .array(simple, { minLength: 1, maxLength: 3 })
      .map((identifiers): Subject => ({ format: 'aliases', identifiers }))
    const seed = Date.now()
    const subjects = fc
      .sample(fc.oneof(simple, complex, aliases), { numRuns: 60, seed })
      .map((one) => parseSubject(one))
    const streams: string[] = []
    for (const subject of subjects) streams.push(await addTo(subject))
    for (const [index, takers] of (await takersOf(subjects, literal)).entries()) {
      const event = subjects[index] as Subject
      const expected = streams.filter((_, at) => belongs(subjects[at] as Subject, event, literal))
      const taken = takers.filter((id) => streams.includes(id))
      assert.deepEqual(taken.sort(), expected.sort(), `seed ${seed}: ${JSON.stringify(event)}`)
    }
  }
})

/**
 * The rule as the section writes it. Simple: identical. Complex: every member that both have is identical, and at least
 * one is: with none in common the letter of the rule matches everything, which the working group calls a defect
 * (issue 312). A simple subject never matches a complex one, aliases and address lists match as a whole (issues 282, 288).
 */
function belongs(a: Subject, b: Subject, literal: boolean): boolean {
  if (a.format !== 'complex' || b.format !== 'complex') return canonicalSubject(a) === canonicalSubject(b)
  const shared = Object.keys(a).filter((name) => name !== 'format' && b[name] !== undefined)
  const same = (name: string) => canonicalSubject(a[name] as Subject) === canonicalSubject(b[name] as Subject)
  return (literal || shared.length > 0) && shared.every(same)
}
