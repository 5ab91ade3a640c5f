import assert from 'node:assert/strict'
import { newId } from '../../src/kernel/ids.js'
import type { Subject } from '../../src/secevent/event.js'
import { CAEP } from '../../src/secevent/event-types.js'
import { parseSubject } from '../../src/secevent/subject.js'
import { sqlRows } from '../../src/storage/database.js'
import { subjectContext } from '../../src/streams/subject-repository.js'
import { createSsfHarness, type SsfHarness, type TestReceiver, UNKNOWN_ID } from '../streams/ssf-harness.js'
import { describeSsf } from './ssf-places.js'

const email = (name: string): Subject => ({ format: 'email', email: `${name}@example.com` })
const device = (id: string): Subject => ({ format: 'opaque', id })
const complex = (members: Record<string, Subject>): Subject => ({ format: 'complex', ...members })

describeSsf('SSF 1.0 §8.1.3 subjects', (place) => {
  let ssf: SsfHarness
  let all: TestReceiver
  let none: TestReceiver
  before(async () => {
    ssf = await place.open({ maxStreamsPerReceiver: 1000, maxSubjectsPerStream: 1000 })
    all = await ssf.addReceiver('takes-all')
    none = await ssf.addReceiver('takes-none', { defaultSubjects: 'NONE' })
  })
  after(() => ssf.close())

  const stream = (receiver: TestReceiver) =>
    ssf.createStream(receiver, { events_requested: [CAEP.sessionRevoked] })
  const change = (kind: 'add' | 'remove', receiver: TestReceiver, id: string, subject: unknown, extra = {}) =>
    ssf.call('post', `/ssf/subjects/${kind}`, receiver.token, { stream_id: id, subject, ...extra })

  /** Does the stream take an event about the subject? As fan-out decides it. */
  async function takes(id: string, subject: Subject): Promise<boolean> {
    const event = {
      eventId: newId(),
      type: CAEP.sessionRevoked,
      sourceId: newId(),
      subject: parseSubject(subject),
    }
    return (await ssf.match([event])).some((taker) => taker.streamId === id)
  }

  describe('default_subjects ALL (T-66)', () => {
    it('takes every subject; remove excludes one and add takes it back', async () => {
      const id = await stream(all)
      assert.equal(await takes(id, email('ann')), true)
      const removed = await change('remove', all, id, email('ann'))
      assert.equal(removed.status, 204)
      assert.equal(removed.text, '')
      assert.equal(removed.headers['cache-control'], 'no-store')
      assert.equal(await takes(id, email('ann')), false)
      assert.equal(await takes(id, email('bob')), true)
      const added = await change('add', all, id, email('ann'))
      assert.equal(added.status, 200)
      assert.equal(added.text, '')
      assert.equal(added.headers['cache-control'], 'no-store')
      assert.equal(await takes(id, email('ann')), true)
      assert.equal(await ssf.count('stream_subjects', id), 0)
    })

    it('excludes by a complex subject only what it covers, so that no wider revocation is lost', async () => {
      const id = await stream(all)
      await change('remove', all, id, complex({ user: email('ann'), device: device('d1') }))
      assert.equal(await takes(id, complex({ user: email('ann'), device: device('d1') })), false)
      const narrower = complex({ user: email('ann'), device: device('d1'), session: device('s') })
      assert.equal(await takes(id, narrower), false)
      assert.equal(await takes(id, complex({ user: email('ann') })), true)
      assert.equal(await takes(id, complex({ user: email('ann'), device: device('d2') })), true)
    })

    it('leaves other streams of the same receiver alone', async () => {
      const [one, two] = [await stream(all), await stream(all)]
      await change('remove', all, one, email('ann'))
      assert.equal(await takes(two, email('ann')), true)
    })
  })

  describe('default_subjects NONE (T-66)', () => {
    it('takes only what was added, until it is removed', async () => {
      const id = await stream(none)
      assert.equal(await takes(id, email('ann')), false)
      assert.equal((await change('add', none, id, email('ann'))).status, 200)
      assert.equal((await change('add', none, id, email('ann'))).status, 200)
      assert.equal(await takes(id, email('ann')), true)
      assert.equal(await takes(id, email('bob')), false)
      assert.equal((await change('remove', none, id, email('ann'))).status, 204)
      assert.equal(await takes(id, email('ann')), false)
      assert.equal(await ssf.count('stream_subjects', id), 0)
    })
  })

  describe('§8.1.3.1 matching', () => {
    // Added, event, does it match.
    const RULES: [string, Subject, Subject, boolean][] = [
      ['identical simple subjects (T-34)', email('ann'), email('ann'), true],
      [
        'an address whose domain differs in case',
        email('ann'),
        { format: 'email', email: 'ann@EXAMPLE.com' },
        true,
      ],
      ['different simple subjects', email('ann'), email('bob'), false],
      ['simple subjects of different formats', email('x'), { format: 'opaque', id: 'x@example.com' }, false],
      [
        'the less restrictive added subject (T-35)',
        complex({ tenant: device('t') }),
        complex({ tenant: device('t'), user: email('ann') }),
        true,
      ],
      [
        'the more restrictive added subject (T-35)',
        complex({ user: email('ann'), device: device('d') }),
        complex({ user: email('ann') }),
        true,
      ],
      [
        'a member that differs',
        complex({ user: email('ann'), group: device('g') }),
        complex({ user: email('ann'), group: device('h') }),
        false,
      ],
      [
        'members that overlap in part',
        complex({ user: email('ann'), group: device('g') }),
        complex({ user: email('ann'), tenant: device('t') }),
        true,
      ],
      [
        'no member in common (T-36)',
        complex({ user: email('ann') }),
        complex({ device: device('d') }),
        false,
      ],
      [
        'the same value under another member',
        complex({ user: device('x') }),
        complex({ device: device('x') }),
        false,
      ],
      [
        'a simple added subject and a complex event (T-37)',
        email('ann'),
        complex({ user: email('ann') }),
        false,
      ],
      [
        'a complex added subject and a simple event (T-37)',
        complex({ user: email('ann') }),
        email('ann'),
        false,
      ],
      [
        'aliases as a whole, in any order (T-37)',
        { format: 'aliases', identifiers: [email('a'), email('b')] },
        { format: 'aliases', identifiers: [email('b'), email('a')] },
        true,
      ],
      [
        'aliases that only overlap (T-37)',
        { format: 'aliases', identifiers: [email('a'), email('b')] },
        { format: 'aliases', identifiers: [email('a')] },
        false,
      ],
      [
        'address lists as sets (T-37)',
        { format: 'ip-addresses', 'ip-addresses': ['10.0.0.1', '10.0.0.2'] },
        { format: 'ip-addresses', 'ip-addresses': ['10.0.0.2', '10.0.0.1'] },
        true,
      ],
      [
        'address lists that only overlap (T-37)',
        { format: 'ip-addresses', 'ip-addresses': ['10.0.0.1', '10.0.0.2'] },
        { format: 'ip-addresses', 'ip-addresses': ['10.0.0.1'] },
        false,
      ],
    ]
    for (const [what, added, sent, expected] of RULES) {
      it(`${expected ? 'matches' : 'does not match'} ${what}`, async () => {
        const id = await stream(none)
        assert.equal((await change('add', none, id, added)).status, 200)
        assert.equal(await takes(id, sent), expected)
      })
    }

    it('keeps apart complex subjects that share a member', async () => {
      const id = await stream(none)
      await change('add', none, id, complex({ user: email('ann'), device: device('d1') }))
      await change('add', none, id, complex({ user: email('ann'), device: device('d2') }))
      assert.equal(await takes(id, complex({ user: email('ann'), device: device('d2') })), true)
      await change('remove', none, id, complex({ user: email('ann'), device: device('d2') }))
      assert.equal(await takes(id, complex({ user: email('ann'), device: device('d2') })), false)
      assert.equal(await takes(id, complex({ user: email('ann'), device: device('d1') })), true)
    })
  })

  place.itInside('keeps events flowing for the grace after a removal (T-70)', async () => {
    const grace = await createSsfHarness({ subjectRemovalGraceS: 300 })
    const [open, closed] = [
      await grace.addReceiver('all'),
      await grace.addReceiver('none', { defaultSubjects: 'NONE' }),
    ]
    for (const receiver of [open, closed]) {
      const id = await grace.createStream(receiver, { events_requested: [CAEP.sessionRevoked] })
      await grace.subjects.add(receiver.id, id, email('ann'), true)
      await grace.subjects.remove(receiver.id, id, email('ann'))
      const event = { eventId: newId(), type: CAEP.sessionRevoked, sourceId: newId(), subject: email('ann') }
      const takers = async () => (await grace.match([event])).map((taker) => taker.streamId)
      assert.ok((await takers()).includes(id))
      await sqlRows(grace.db, `update stream_subjects set changed_at = now() - interval '301 s'`)
      assert.ok(!(await takers()).includes(id))
      await grace.subjects.add(receiver.id, id, email('ann'), true)
      assert.ok((await takers()).includes(id))
    }
    await grace.close()
  })

  it('answers alike whether anybody knows the subject (T-68)', async () => {
    for (const receiver of [all, none]) {
      const id = await stream(receiver)
      assert.equal((await change('remove', receiver, id, email('never-seen'))).status, 204)
      assert.equal((await change('add', receiver, id, email('never-seen'))).status, 200)
    }
  })

  it('takes a subject without `verified` as verified, and keeps what was said (T-67)', async () => {
    const id = await stream(none)
    await change('add', none, id, email('ann'))
    await change('add', none, id, email('bob'), { verified: false })
    const rows = await sqlRows<{ verified: boolean; subject_wrapped: Buffer }>(
      ssf.db,
      'select verified, subject_wrapped from stream_subjects where stream_id = ?',
      [id],
    )
    const said = rows.map((row) => [
      ssf.keys.open(row.subject_wrapped, subjectContext(id)).toString().includes('ann'),
      row.verified,
    ])
    assert.deepEqual(said.sort(), [
      [false, false],
      [true, true],
    ])
    assert.ok(rows.every((row) => !row.subject_wrapped.includes('example.com')))
  })

  it('keeps the stream’s own subject in the stream (T-71)', async () => {
    const id = await stream(all)
    assert.equal((await change('remove', all, id, { format: 'opaque', id })).status, 400)
    assert.equal(await ssf.count('stream_subjects', id), 0)
  })

  place.itInside('answers 429 with Retry-After when a stream holds as many subjects as it may', async () => {
    const small = await createSsfHarness({ maxSubjectsPerStream: 3 })
    const receiver = await small.addReceiver('small', { defaultSubjects: 'NONE' })
    const id = await small.createStream(receiver)
    const add = (subject: Subject) =>
      small.call('post', '/ssf/subjects/add', receiver.token, { stream_id: id, subject })
    assert.equal((await add(complex({ user: email('a'), device: device('d') }))).status, 200)
    const refused = await add(complex({ user: email('b'), device: device('d') }))
    assert.equal(refused.status, 429)
    assert.equal(refused.headers['retry-after'], '60')
    assert.equal(refused.body.code, 'ERR_SUBJECT_LIMIT')
    assert.equal(await small.count('stream_subjects', id), 2)
    assert.equal((await add(email('c'))).status, 200)
    // What is there already may be said again.
    assert.equal((await add(email('c'))).status, 200)
    await small.close()
  })

  for (const [kind, status] of [
    ['add', 200],
    ['remove', 204],
  ] as const) {
    it(`answers 429 to ${kind} when the subjects around one member name too many sets of others`, async () => {
      const receiver = kind === 'add' ? none : all
      const id = await stream(receiver)
      const tenant = device('tenant')
      const first = complex({ tenant, user: email('first') })
      assert.equal((await change(kind, receiver, id, first)).status, status)
      for (let index = 1; index < 16; index += 1) {
        const one = complex({ tenant, [`role-${index}`]: device('r') })
        assert.equal((await change(kind, receiver, id, one)).status, status)
      }
      const refused = await change(kind, receiver, id, complex({ tenant, another: device('r') }))
      assert.equal(refused.status, 429)
      assert.equal(refused.body.code, 'ERR_SUBJECT_LIMIT')
      assert.equal(await ssf.count('stream_subjects', id), 32)
      // What is there already may be said again; more of the same set and other members are not held back.
      for (const subject of [
        first,
        complex({ tenant, user: email('second') }),
        complex({ tenant: device('other'), another: device('r') }),
      ]) {
        assert.equal((await change(kind, receiver, id, subject)).status, status)
      }
    })

    it(`answers 400 to ${kind} with more or longer members than a subject of a stream may have`, async () => {
      const receiver = kind === 'add' ? none : all
      const id = await stream(receiver)
      const many = Object.fromEntries(Array.from({ length: 8 }, (_, index) => [`m${index}`, device('d')]))
      for (const members of [many, { ['m'.repeat(101)]: device('d') }]) {
        assert.equal((await change(kind, receiver, id, complex(members))).status, 400)
      }
      const { m7: _, ...seven } = many
      assert.equal((await change(kind, receiver, id, complex(seven))).status, status)
    })
  }

  for (const kind of ['add', 'remove'] as const) {
    const BAD: Record<string, unknown> = {
      'no subject': undefined,
      'a subject that is a string': 'ann@example.com',
      'a subject that is an array': [],
      'a subject without format': {},
      'an email without email': { format: 'email' },
      'an empty member': { format: 'email', email: '' },
      'aliases inside aliases': { format: 'aliases', identifiers: [{ format: 'aliases', identifiers: [] }] },
      'a complex subject without members': { format: 'complex' },
      'a member that is no subject': { format: 'complex', user: 'ann' },
      'U+0000 in a member': { format: 'opaque', id: 'a\u0000' },
    }
    for (const [what, subject] of Object.entries(BAD)) {
      it(`answers 400 to ${kind} with ${what}`, async () => {
        const id = await stream(none)
        assert.equal((await change(kind, none, id, subject)).status, 400)
        // Before the stream is looked for (T-45).
        assert.equal((await change(kind, none, UNKNOWN_ID, subject)).status, 400)
        assert.equal(await ssf.count('stream_subjects', id), 0)
      })
    }

    it(`answers 400 to ${kind} without stream_id and 404 for an unknown one`, async () => {
      const res = await ssf.call('post', `/ssf/subjects/${kind}`, none.token, { subject: email('ann') })
      assert.equal(res.status, 400)
      for (const id of [UNKNOWN_ID, 'x'])
        assert.equal((await change(kind, none, id, email('ann'))).status, 404)
    })
  }

  it('answers 400 when verified is no boolean', async () => {
    const id = await stream(none)
    assert.equal((await change('add', none, id, email('ann'), { verified: 'yes' })).status, 400)
  })
})
