import assert from 'node:assert/strict'
import type { AccessEffect, Subject } from '../../src/secevent/event.js'
import { CAEP, EVENTS_SUPPORTED, RISC, SSF } from '../../src/secevent/event-types.js'
import { RENDERING, renderEvent } from '../../src/secevent/render-event.js'
import { declaredMembers } from '../../src/secevent/validate-event.js'

const email: Subject = { format: 'email', email: 'ann@example.com' }
const issSub: Subject = { format: 'iss_sub', iss: 'https://idp.example', sub: 'ann' }
const opaque: Subject = { format: 'opaque', id: 'x' }
const complex = (members: Record<string, Subject>): Subject => ({ format: 'complex', ...members })
const render = (event: {
  type?: string
  effect?: AccessEffect
  subject?: Subject
  claims?: Record<string, unknown>
}) =>
  renderEvent(RENDERING.caepInterop, {
    type: CAEP.sessionRevoked,
    effect: 'tightens',
    subject: email,
    claims: {},
    ...event,
  })
const contentOf = (event: Parameters<typeof render>[0]) => {
  const rendered = render(event)
  assert.ok('content' in rendered, JSON.stringify(rendered))
  return rendered.content
}

describe('rendering of an event', () => {
  it('leaves everything as it is when it is plain', () => {
    for (const subject of [opaque, complex({ device: opaque })]) {
      const claims = { reason_admin: {} }
      const rendered = renderEvent(RENDERING.plain, {
        type: CAEP.sessionRevoked,
        effect: 'tightens',
        subject,
        claims,
      })
      assert.deepEqual(rendered, { content: { subject, claims } })
    }
  })

  describe('CAEP interoperability profile', () => {
    it('names email and iss_sub subjects, and the user of a complex one (its §2.5)', () => {
      const TABLE: [Subject, Subject][] = [
        [email, email],
        [issSub, issSub],
        [complex({ user: email, device: opaque }), email],
        [complex({ session: opaque, user: issSub }), issSub],
      ]
      for (const [subject, expected] of TABLE) assert.deepEqual(contentOf({ subject }).subject, expected)
    })

    it('makes no all-clear for one device into one for its user', () => {
      const subject = complex({ user: email, device: opaque })
      const rendered = render({ type: CAEP.deviceComplianceChange, effect: 'loosens', subject })
      assert.ok('refusal' in rendered)
      assert.match(rendered.refusal, /loosens access/)
      assert.deepEqual(contentOf({ effect: 'neutral', subject }).subject, email)
      assert.deepEqual(contentOf({ effect: 'loosens' }).subject, email)
    })

    const REFUSED: [Subject, RegExp][] = [
      [opaque, /format opaque/],
      [{ format: 'phone_number', phone_number: '+12065550100' }, /format phone_number/],
      [{ format: 'aliases', identifiers: [email] }, /format aliases/],
      [{ format: 'catalog_item', user: email }, /format catalog_item/],
      [complex({ device: opaque }), /complex without a user/],
      [complex({ user: opaque }), /complex with a user of format opaque/],
    ]
    for (const [subject, reason] of REFUSED) {
      it(`has no form for ${JSON.stringify(subject)}, and says why`, () => {
        const rendered = render({ subject })
        assert.ok('refusal' in rendered)
        assert.match(rendered.refusal, reason)
        assert.match(rendered.refusal, /no form for a subject of format/)
        // Who it is about stays out of logs.
        assert.ok(!rendered.refusal.includes('ann'))
      })
    }

    it('gives every event that may have one a reason_admin, and keeps the source’s (its §3)', () => {
      for (const type of EVENTS_SUPPORTED) {
        const { claims } = contentOf({ type })
        if (declaredMembers(type)?.has('reason_admin')) {
          const [text] = Object.values(claims.reason_admin as Record<string, string>)
          assert.ok(text?.includes(type.slice(type.lastIndexOf('/') + 1)), type)
        } else assert.deepEqual(claims, {})
      }
      const given = { reason_admin: { de: 'Gerät verloren' }, reason_user: { en: 'x' } }
      assert.deepEqual(contentOf({ claims: given }).claims, given)
      const withReason = Object.values(CAEP).filter((type) => contentOf({ type }).claims.reason_admin)
      assert.deepEqual(withReason, Object.values(CAEP))
    })

    for (const reason of [{}, { en: '' }, { en: 7 }, [], 'text', null]) {
      it(`takes ${JSON.stringify(reason)} for no reason`, () => {
        const { claims } = contentOf({ claims: { reason_admin: reason, initiating_entity: 'policy' } })
        assert.deepEqual(claims, {
          reason_admin: { en: 'session-revoked; its source gave no reason' },
          initiating_entity: 'policy',
        })
      })
    }

    it('leaves what the hub says of the stream itself alone', () => {
      for (const type of [SSF.verification, SSF.streamUpdated]) {
        assert.deepEqual(contentOf({ type, subject: opaque, claims: { state: 's' } }), {
          subject: opaque,
          claims: { state: 's' },
        })
      }
    })

    it('names the subject of a type that an operator registered too, and adds nothing to it', () => {
      const type = 'https://example.com/events/badge'
      const subject = complex({ user: email, device: opaque })
      assert.deepEqual(contentOf({ type, subject, claims: { door: 1 } }), {
        subject: email,
        claims: { door: 1 },
      })
      assert.ok('refusal' in render({ type, subject: opaque }))
    })

    it('adds no member to a RISC event that declares none', () => {
      assert.deepEqual(contentOf({ type: RISC.accountPurged }).claims, {})
    })
  })
})
