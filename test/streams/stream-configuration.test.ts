import assert from 'node:assert/strict'
import { BUILT_IN_EVENT_TYPES, CAEP, RISC } from '../../src/secevent/event-types.js'
import { METHOD_URI, type Stream, type StreamSettings } from '../../src/streams/stream.js'
import {
  type ClaimedConfiguration,
  differingMembers,
  eventsDelivered,
  eventsSupported,
  inactivityTimeoutOf,
  toConfiguration,
} from '../../src/streams/stream-configuration.js'

const ID = '0190a000-0000-7000-8000-000000000001'
const STREAM: Stream = {
  streamId: ID,
  receiverId: '0190a000-0000-7000-8000-000000000002',
  shard: 1,
  status: 'enabled',
  statusReason: undefined,
  statusBy: 'receiver',
  statusCause: undefined,
  deliveryMethod: 'poll',
  endpointUrl: undefined,
  authorizationSealed: undefined,
  eventsRequested: undefined,
  eventsDelivered: [],
  description: undefined,
  subjectCount: 0,
  version: 1,
}
const SETTINGS: StreamSettings = {
  issuer: 'https://hub.example/t1',
  maxStreamsPerReceiver: 1,
  minVerificationIntervalS: 0,
  maxSubjectsPerStream: 1,
  subjectRemovalGraceS: 0,
}
const TERMS = {
  audience: 'urn:a',
  defaultSubjects: 'ALL',
  grantEventTypes: [CAEP.sessionRevoked, RISC.accountDisabled],
  inactivityTimeoutS: undefined,
} as const

const shown = (stream: Partial<Stream> = {}, settings: Partial<StreamSettings> = {}) =>
  toConfiguration(
    { ...STREAM, ...stream },
    { terms: TERMS, types: BUILT_IN_EVENT_TYPES },
    { ...SETTINGS, ...settings },
  )

describe('a stream’s configuration (SSF 1.0 §8.1.1)', () => {
  it('says nothing of what there is not', () => {
    assert.deepEqual(shown(), {
      stream_id: ID,
      iss: SETTINGS.issuer,
      aud: 'urn:a',
      events_supported: eventsSupported(TERMS, BUILT_IN_EVENT_TYPES),
      events_delivered: [],
      delivery: { method: METHOD_URI.poll, endpoint_url: `https://hub.example/t1/ssf/poll/${ID}` },
    })
  })

  it('says all that there is, an empty list and an empty text too', () => {
    const { events_requested, description, min_verification_interval, inactivity_timeout } = shown(
      { eventsRequested: [], description: '' },
      { minVerificationIntervalS: 1, inactivityTimeoutS: 1 },
    )
    assert.deepEqual(
      { events_requested, description, min_verification_interval, inactivity_timeout },
      { events_requested: [], description: '', min_verification_interval: 1, inactivity_timeout: 1 },
    )
  })

  it('never shows the authorization_header, sealed or not', () => {
    const stream = {
      deliveryMethod: 'push',
      endpointUrl: 'https://r.example/',
      authorizationSealed: Buffer.from('secret'),
    } as const
    assert.deepEqual(shown(stream).delivery, { method: METHOD_URI.push, endpoint_url: 'https://r.example/' })
  })

  it('delivers what is requested and granted, once each and in the order of the request', () => {
    const requested = [RISC.accountDisabled, CAEP.sessionRevoked, RISC.accountDisabled, CAEP.credentialChange]
    const delivered = (grantEventTypes: string[] | undefined) =>
      eventsDelivered({ grantEventTypes }, requested, BUILT_IN_EVENT_TYPES)
    assert.deepEqual(delivered([CAEP.sessionRevoked, RISC.accountDisabled]), [
      RISC.accountDisabled,
      CAEP.sessionRevoked,
    ])
    assert.deepEqual(delivered(undefined), [...new Set(requested)])
    assert.deepEqual(delivered([]), [])
    assert.deepEqual(eventsDelivered({ grantEventTypes: undefined }, undefined, BUILT_IN_EVENT_TYPES), [])
  })

  it('has the receiver’s own inactivity_timeout before the hub’s, where 0 is none', () => {
    const timeout = (own: number | undefined, hubs: number) =>
      inactivityTimeoutOf({ inactivityTimeoutS: own }, { inactivityTimeoutS: hubs })
    assert.deepEqual(
      [timeout(undefined, 0), timeout(undefined, 9), timeout(0, 9), timeout(5, 9), timeout(5, 0)],
      [undefined, 9, undefined, 5, 5],
    )
    assert.equal(inactivityTimeoutOf({ inactivityTimeoutS: undefined }, {}), undefined)
  })

  const current = shown(
    { eventsDelivered: [CAEP.sessionRevoked, RISC.accountDisabled] },
    { inactivityTimeoutS: 60 },
  )
  const CLAIMS: [title: string, claimed: ClaimedConfiguration, differing: string[]][] = [
    ['nothing', {}, []],
    ['the issuer', { iss: SETTINGS.issuer }, []],
    ['the issuer in a list', { iss: [SETTINGS.issuer] }, ['iss']],
    ['the audience', { aud: 'urn:a' }, []],
    ['the audience in a list', { aud: ['urn:a'] }, []],
    ['the audience twice', { aud: ['urn:a', 'urn:a'] }, []],
    ['one audience more', { aud: ['urn:a', 'urn:b'] }, ['aud']],
    ['another audience', { aud: ['urn:b'] }, ['aud']],
    ['no audience', { aud: [] }, ['aud']],
    ['types in another order', { events_delivered: [RISC.accountDisabled, CAEP.sessionRevoked] }, []],
    ['one type of two', { events_delivered: [CAEP.sessionRevoked] }, ['events_delivered']],
    [
      'another type of two',
      { events_delivered: [CAEP.sessionRevoked, CAEP.credentialChange] },
      ['events_delivered'],
    ],
    ['null types', { events_supported: null }, ['events_supported']],
    ['the inactivity_timeout', { inactivity_timeout: 60 }, []],
    ['the inactivity_timeout as text', { inactivity_timeout: '60' }, ['inactivity_timeout']],
    ['an interval where there is none', { min_verification_interval: 0 }, ['min_verification_interval']],
    ['the poll URL', { poll_endpoint_url: current.delivery.endpoint_url }, []],
    ['another poll URL', { poll_endpoint_url: 'https://x.example/' }, ['delivery.endpoint_url']],
    ['two that differ', { iss: 'x', aud: 'y' }, ['iss', 'aud']],
  ]
  for (const [title, claimed, differing] of CLAIMS) {
    it(`finds ${differing.length > 0 ? `${differing.join(' and ')} wrong` : 'nothing wrong'} when ${title} is sent back (§8.1.1.3)`, () => {
      assert.deepEqual(differingMembers(claimed, current), differing)
    })
  }

  it('takes no poll URL for that of a stream that is pushed so far', () => {
    const endpointUrl = 'https://r.example/'
    const pushed = shown({ deliveryMethod: 'push', endpointUrl })
    assert.deepEqual(differingMembers({ poll_endpoint_url: endpointUrl }, pushed), ['delivery.endpoint_url'])
  })
})
