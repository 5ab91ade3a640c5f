import assert from 'node:assert/strict'
import {
  COMPATIBILITY_SWITCHES,
  parseCompatibility,
  readCompatibility,
} from '../../src/auth/compatibility.js'
import { parseNewReceiver, parseReceiverChange, parseTokenRequest } from '../../src/auth/receiver-body.js'
import { InvalidRequest } from '../../src/kernel/errors.js'

const many = <T>(count: number, make: (n: number) => T) => Array.from({ length: count }, (_, n) => make(n))
const type = (n: number) => `https://types.example.com/${n}`
const uri = (length: number) => 'https://types.example.com/'.padEnd(length, 'x')
const keys = (count: number, more: object = {}) => ({ keys: many(count, () => ({ kty: 'EC', ...more })) })

const takes = (body: object): boolean => {
  try {
    parseNewReceiver({ name: 'x', ...body })
    return true
  } catch (error) {
    assert.ok(error instanceof InvalidRequest)
    return false
  }
}

describe('auth: bodies of receivers', () => {
  const LIMITS: [what: string, longest: object, over: object][] = [
    ['a name of 100 characters', { name: 'x'.repeat(100) }, { name: 'x'.repeat(101) }],
    ['a client_id of 200 characters', { client_id: 'x'.repeat(200) }, { client_id: 'x'.repeat(201) }],
    [
      '200 event types',
      { grants: { event_types: many(200, type) } },
      { grants: { event_types: many(201, type) } },
    ],
    [
      'an event type of 500 characters',
      { grants: { event_types: [uri(500)] } },
      { grants: { event_types: [uri(501)] } },
    ],
    [
      '1000 sources',
      { grants: { sources: many(1_000, String) } },
      { grants: { sources: many(1_001, String) } },
    ],
    [
      'a source of 200 characters',
      { grants: { sources: ['x'.repeat(200)] } },
      { grants: { sources: ['x'.repeat(201)] } },
    ],
    ['ten keys', { jwks: keys(10) }, { jwks: keys(11) }],
    ['one key at least', { jwks: keys(1) }, { jwks: keys(0) }],
    [
      'a kid of 200 characters',
      { jwks: keys(1, { kid: 'x'.repeat(200) }) },
      { jwks: keys(1, { kid: 'x'.repeat(201) }) },
    ],
    ['60 s of inactivity at least', { inactivity_timeout_s: 60 }, { inactivity_timeout_s: 59 }],
    ['a year of inactivity', { inactivity_timeout_s: 31_536_000 }, { inactivity_timeout_s: 31_536_001 }],
    ['a name of one character', { name: 'x' }, { name: '' }],
    ['a client_id of one character', { client_id: 'x' }, { client_id: '' }],
    [
      'each event type once',
      { grants: { event_types: [type(1)] } },
      { grants: { event_types: [type(1), type(1)] } },
    ],
    ['each source once', { grants: { sources: ['a'] } }, { grants: { sources: ['a', 'a'] } }],
    ['each report once', { reports: ['applied'] }, { reports: ['applied', 'applied'] }],
    ['key sets without more', { jwks: keys(1) }, { jwks: { ...keys(1), more: 1 } }],
    ['key sets with keys', { jwks: keys(1) }, { jwks: {} }],
  ]
  for (const [what, longest, over] of LIMITS) {
    it(`take ${what}, and no step further`, () => {
      assert.deepEqual([takes(longest), takes(over)], [true, false])
    })
  }

  it('hold public keys alone', () => {
    for (const kty of ['RSA', 'EC', 'OKP']) assert.ok(takes({ jwks: { keys: [{ kty, x: 'y' }] } }), kty)
    for (const kty of ['oct', undefined]) assert.ok(!takes({ jwks: { keys: [{ kty }] } }), kty)
    for (const member of ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']) {
      assert.ok(!takes({ jwks: keys(1, { [member]: 'x' }) }), member)
    }
  })

  it('mean all types, sources and subjects, no profile and no switch, where they say nothing', () => {
    assert.deepEqual(parseNewReceiver({ name: 'plain' }), {
      name: 'plain',
      authMethod: 'client_secret_basic',
      jwks: null,
      defaultSubjects: 'ALL',
      reports: [],
      profile: null,
      compatibility: [],
      inactivityTimeoutS: null,
      signingAlg: 'RS256',
      grantEventTypes: null,
      grantSources: null,
    })
  })

  it('set what they name, and a change nothing else', () => {
    const body = {
      name: 'all',
      grants: { event_types: [type(1)], sources: [] },
      default_subjects: 'NONE',
      reports: ['applied'],
      profile: 'caep-interop',
      compatibility: { accept_any_2xx: true },
      inactivity_timeout_s: 0,
      signing_alg: 'ES256',
      token_endpoint_auth_method: 'private_key_jwt',
      jwks: keys(1),
    }
    const settings = {
      name: 'all',
      authMethod: 'private_key_jwt',
      jwks: keys(1),
      defaultSubjects: 'NONE',
      reports: ['applied'],
      profile: 'caep-interop',
      compatibility: ['accept_any_2xx'],
      inactivityTimeoutS: 0,
      signingAlg: 'ES256',
      grantEventTypes: [type(1)],
      grantSources: [],
    }
    assert.deepEqual(parseNewReceiver({ ...body, client_id: 'c' }), { ...settings, clientId: 'c' })
    assert.deepEqual(parseReceiverChange(body), settings)
    assert.deepEqual(parseReceiverChange({ grants: { sources: null } }), { grantSources: null })
    assert.deepEqual(parseReceiverChange({ profile: null, inactivity_timeout_s: null }), {
      profile: null,
      inactivityTimeoutS: null,
    })
    assert.throws(() => parseReceiverChange({}), InvalidRequest)
    assert.throws(() => parseReceiverChange({ client_id: 'c' }), InvalidRequest)
  })

  it('ask for a token with scopes, for good or until a time', () => {
    const scopes = ['ssf.manage', 'ssf.read']
    assert.deepEqual(parseTokenRequest({ scopes }), { scopes, expiresAt: null })
    assert.deepEqual(parseTokenRequest({ scopes, expires_at: null }), { scopes, expiresAt: null })
    const until = parseTokenRequest({ scopes, expires_at: '2999-01-01T02:00:00+02:00' })
    assert.equal(until.expiresAt?.toISOString(), '2999-01-01T00:00:00.000Z')
  })

  it('name switches: those unknown are told, five at most, and only true is on', () => {
    const unknown = Object.fromEntries(many(6, (n) => [`switch_${n}`, true]))
    const told = `compatibility has no switch switch_0, switch_1, switch_2, switch_3, switch_4; there are ${COMPATIBILITY_SWITCHES.join(', ')}.`
    assert.throws(() => parseCompatibility(unknown), { message: told })
    assert.throws(() => parseCompatibility({ ['x'.repeat(101)]: true }), {
      message: new RegExp(`no switch ${'x'.repeat(100)};`),
    })
    assert.deepEqual(
      readCompatibility({
        accept_any_2xx: true,
        omit_more_available: 'true',
        accept_max_events: 1,
        later: true,
      }),
      ['accept_any_2xx'],
    )
  })
})
