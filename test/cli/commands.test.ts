import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EVENT_TYPES, hooksFor, runWords } from './run-words.js'
import { type Script, startScriptedHub } from './scripted-hub.js'

const folder = mkdtempSync(join(tmpdir(), 'firebreak-cli-'))
const file = (name: string, text: string) => {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}
const JWKS = { keys: [{ kty: 'EC', kid: 'k1' }] }
const jwksFile = file('jwks.json', JSON.stringify(JWKS))
const secretFile = file('secret', 'Bearer abc\n')
const eventFile = file('event.json', '{"initiating_entity":"admin"}')

interface Case {
  title: string
  words: string[]
  /** The whole conversation: `METHOD /path?query`, and the body when there is one. */
  sends: [string, unknown?][]
  answers: Script
  shows: RegExp[]
  stdin?: string
}

const ADD = ['transmitter', 'add', '--name', 'idp', '--issuer', 'https://idp', '--audience', 'hub']
const ADD_BODY = { name: 'idp', issuer: 'https://idp', audience: ['hub'] }
const ADD_ANSWER = { status: 201, body: { id: 't1', name: 'idp', ingest_url: 'https://hub/ingest/t1' } }
const RECEIVER = { id: 'r1', name: 'gw', client_id: 'c1', client_secret: 's3cret', audience: 'aud-1' }
const STREAM = {
  stream_id: 's1',
  receiver: { id: 'r1', name: 'gw' },
  status: 'paused',
  status_reason: 'busy',
  delivery: { method: 'urn:ietf:rfc:8936', endpoint_url: 'https://hub/ssf/poll/s1' },
  events_delivered: ['a', 'b'],
}

const caFile = file('ca.pem', 'PEM of an authority')
const certFile = file('hub.pem', 'PEM of the hub')
const CERTIFICATE = { subject: 'CN=hub', issuer: 'CN=ca', not_after: 'then', fingerprint_sha256: 'AB:CD' }
const TLS = {
  stream_id: 's1',
  origin: 'https://gw:8443',
  in_use: true,
  ca: [{ ...CERTIFICATE, subject: 'CN=ca' }],
  client_certificate: CERTIFICATE,
  updated_at: 'now',
}
const KEY = { kid: 'k1', use: 'set', alg: 'RS256', state: 'next', origin: 'generated', active_from: 'soon' }
const ALERT = {
  id: 'a1',
  kind: 'stream_failing',
  object: 'stream:s1',
  severity: 'critical',
  state: 'open',
  summary: 'gw fails',
  opened_at: 'then',
  resolved_at: null,
}
const OLD_KEY = { ...KEY, kid: 'k0', state: 'retired', retired_at: 'then' }

const CASES: Case[] = [
  {
    title: 'lists the keys that are published',
    words: ['keys', 'list'],
    sends: [['GET /v1/keys']],
    answers: { 'GET /v1/keys': { body: { items: [KEY, OLD_KEY], next: null } } },
    shows: [/^KID .*\nk1 +set +RS256 +next +soon +- +generated\n$/],
  },
  {
    title: 'lists the retired keys too when asked',
    words: ['keys', 'list', '--all'],
    sends: [['GET /v1/keys']],
    answers: { 'GET /v1/keys': { body: { items: [KEY, OLD_KEY], next: null } } },
    shows: [/k0 +set +RS256 +retired +soon +then/],
  },
  {
    title: 'rotates the keys of SETs unless told otherwise',
    words: ['keys', 'rotate'],
    sends: [['POST /v1/keys/rotate', { use: 'set' }]],
    answers: { 'POST /v1/keys/rotate': { status: 201, body: { items: [KEY] } } },
    shows: [/k1 /],
  },
  {
    title: 'rotates one algorithm at once',
    words: ['keys', 'rotate', '--alg', 'RS256', '--now', '--json'],
    sends: [['POST /v1/keys/rotate', { use: 'set', alg: 'RS256', now: true }]],
    answers: { 'POST /v1/keys/rotate': { status: 201, body: { items: [KEY] } } },
    shows: [/"kid": "k1"/],
  },
  {
    title: 'retires a key',
    words: ['keys', 'retire', 'k0'],
    sends: [['POST /v1/keys/k0/retire']],
    answers: { 'POST /v1/keys/k0/retire': { body: OLD_KEY } },
    shows: [/retired k0/],
  },
  {
    title: 'registers a transmitter by the URI of its keys',
    words: [...ADD, '--jwks-uri', 'https://idp/jwks'],
    sends: [['POST /v1/transmitters', { ...ADD_BODY, jwks_uri: 'https://idp/jwks' }]],
    answers: { 'POST /v1/transmitters': ADD_ANSWER },
    shows: [/push to\s+https:\/\/hub\/ingest\/t1/],
  },
  {
    title: 'registers a transmitter by its key file, with the secret from a file and more than one audience',
    words: [...ADD, '--audience', 'hub2', '--jwks-file', jwksFile, '--authorization-file', secretFile],
    sends: [
      [
        'POST /v1/transmitters',
        { ...ADD_BODY, audience: ['hub', 'hub2'], jwks: JWKS, authorization_header: 'Bearer abc' },
      ],
    ],
    answers: { 'POST /v1/transmitters': ADD_ANSWER },
    shows: [/t1/],
  },
  {
    title: 'registers a transmitter by discovery, with its secret from standard input',
    words: [...ADD, '--discover', '--algorithm', 'ES256', '--authorization-file', '-'],
    stdin: 'Bearer xyz',
    sends: [
      [
        'POST /v1/transmitters',
        { ...ADD_BODY, discover: true, algorithms: ['ES256'], authorization_header: 'Bearer xyz' },
      ],
    ],
    answers: { 'POST /v1/transmitters': ADD_ANSWER },
    shows: [/t1/],
  },
  {
    title: 'registers a transmitter with what it is forgiven',
    words: [...ADD, '--discover', '--tolerance', 'session_id_all', '--tolerance', 'allow_sub'],
    sends: [
      [
        'POST /v1/transmitters',
        { ...ADD_BODY, discover: true, tolerances: { session_id_all: true, allow_sub: true } },
      ],
    ],
    answers: { 'POST /v1/transmitters': ADD_ANSWER },
    shows: [/t1/],
  },
  {
    title: 'registers a transmitter with types that are urgent from it',
    words: [...ADD, '--discover', '--urgent-type', 'session-revoked', '--urgent-type', 'urn:own:type'],
    sends: [
      [
        'POST /v1/transmitters',
        { ...ADD_BODY, discover: true, urgent_types: [EVENT_TYPES[0], 'urn:own:type'] },
      ],
    ],
    answers: { 'POST /v1/transmitters': ADD_ANSWER },
    shows: [/t1/],
  },
  {
    title: 'shows which types are urgent from a transmitter, and changes nothing',
    words: ['transmitter', 'urgent', 't1'],
    sends: [['GET /v1/transmitters/t1']],
    answers: {
      'GET /v1/transmitters/t1': { body: { id: 't1', name: 'idp', urgent_types: ['urn:a', 'urn:b'] } },
    },
    shows: [/name\s+idp\nurgent types\s+urn:a, urn:b\n/],
  },
  {
    title: 'adds and removes types that are urgent from a transmitter',
    words: [
      'transmitter',
      'urgent',
      't1',
      '--add',
      'session-revoked',
      '--remove',
      'urn:a',
      '--remove',
      'urn:x',
    ],
    sends: [
      ['GET /v1/transmitters/t1'],
      ['PATCH /v1/transmitters/t1', { urgent_types: ['urn:b', EVENT_TYPES[0]] }],
    ],
    answers: {
      'PATCH /v1/transmitters/t1': { body: { id: 't1', name: 'idp', urgent_types: ['urn:b', 'urn:c'] } },
      'GET /v1/transmitters/t1': { body: { id: 't1', name: 'idp', urgent_types: ['urn:a', 'urn:b'] } },
    },
    shows: [/urgent types\s+urn:b, urn:c\n/],
  },
  {
    title: 'lists what each transmitter is forgiven',
    words: ['transmitter', 'list'],
    sends: [['GET /v1/transmitters']],
    answers: {
      'GET /v1/transmitters': {
        body: {
          items: [
            { id: 't1', name: 'idp', tolerances: { session_id_all: true, allow_sub: false } },
            { id: 't2', name: 'itdr', tolerances: {} },
          ],
          next: null,
        },
      },
    },
    shows: [/ TOLERANCES +STREAM\n/, /t1 .* enabled +session_id_all +-\n/, /t2 .* enabled +- +-\n/],
  },
  {
    title: 'lists transmitters with the cursor of the next page',
    words: ['transmitter', 'list', '--limit', '1', '--cursor', 'a/b'],
    sends: [['GET /v1/transmitters?limit=1&cursor=a%2Fb']],
    answers: {
      'GET /v1/transmitters': {
        body: { items: [{ id: 't1', name: 'idp', issuer: 'https://idp', enabled: false }], next: 'c2' },
      },
    },
    shows: [/ID\s+NAME\s+ISSUER\s+STATE/, /t1\s+idp\s+https:\/\/idp\s+disabled/, /more: --cursor c2/],
  },
  {
    title: 'shows one transmitter',
    words: ['transmitter', 'show', 't/1'],
    sends: [['GET /v1/transmitters/t%2F1']],
    answers: {
      'GET /v1/transmitters/t%2F1': {
        body: { id: 't/1', audience: ['a', 'b'], tolerances: { allow_sub: true, future_skew_s: 300 } },
      },
    },
    shows: [/audience\s+a, b/, /tolerances\s+allow_sub, future_skew_s=300\n/],
  },
  {
    title: 'removes a transmitter',
    words: ['transmitter', 'remove', 't1'],
    sends: [['DELETE /v1/transmitters/t1']],
    answers: { 'DELETE /v1/transmitters/t1': { status: 204 } },
    shows: [/removed transmitter t1/],
  },
  {
    title: 'registers a receiver with no more than its name, and shows the secret once',
    words: ['receiver', 'add', '--name', 'gw'],
    sends: [['POST /v1/receivers', { name: 'gw' }]],
    answers: { 'POST /v1/receivers': { status: 201, body: RECEIVER } },
    shows: [/client_secret\s+s3cret/, /not shown again/],
  },
  {
    title: 'registers a client of another issuer, which has no secret here',
    words: ['receiver', 'add', '--name', 'gw', '--client-id', 'gateway'],
    sends: [['POST /v1/receivers', { name: 'gw', client_id: 'gateway' }]],
    answers: {
      'POST /v1/receivers': {
        status: 201,
        body: { id: 'r1', client_id: 'gateway', audience: 'aud-1', token_issuer: 'https://login.example' },
      },
    },
    shows: [/client_id +gateway\naudience +aud-1\n$/],
  },
  {
    title: 'says how a receiver without a secret and without another issuer gets a token',
    words: ['receiver', 'add', '--name', 'gw'],
    sends: [['POST /v1/receivers', { name: 'gw' }]],
    answers: {
      'POST /v1/receivers': { status: 201, body: { id: 'r1', client_id: 'r1', audience: 'aud-1' } },
    },
    shows: [/No client secret/, /--client-id/, /receiver token r1/],
  },
  {
    title: 'registers a receiver with grants and reports',
    words: [
      'receiver',
      'add',
      '--name',
      'gw',
      '--event-type',
      'urn:x,urn:y',
      '--source',
      't1',
      '--reports',
      'applied',
    ].concat(
      ['--default-subjects', 'NONE', '--profile', 'caep-interop', '--inactivity-timeout', '15m'],
      ['--compatibility', 'accept_any_2xx,accept_max_events', '--compatibility', 'answer_200_for_204'],
    ),
    sends: [
      [
        'POST /v1/receivers',
        {
          name: 'gw',
          grants: { event_types: ['urn:x', 'urn:y'], sources: ['t1'] },
          default_subjects: 'NONE',
          reports: ['applied'],
          profile: 'caep-interop',
          compatibility: { accept_any_2xx: true, accept_max_events: true, answer_200_for_204: true },
          inactivity_timeout_s: 900,
        },
      ],
    ],
    answers: { 'POST /v1/receivers': { status: 201, body: RECEIVER } },
    shows: [/aud-1/],
  },
  {
    title: 'lists receivers',
    words: ['receiver', 'list'],
    sends: [['GET /v1/receivers']],
    answers: {
      'GET /v1/receivers': { body: { items: [{ ...RECEIVER, reports: ['applied'] }], next: null } },
    },
    shows: [/r1\s+gw\s+c1\s+aud-1\s+-\s+applied/],
  },
  {
    title: 'removes a receiver',
    words: ['receiver', 'remove', 'r1'],
    sends: [['DELETE /v1/receivers/r1']],
    answers: { 'DELETE /v1/receivers/r1': { status: 204 } },
    shows: [/removed receiver r1/],
  },
  {
    title: "rotates a receiver's secret",
    words: ['receiver', 'rotate', 'r1'],
    sends: [['POST /v1/receivers/r1/rotate']],
    answers: { 'POST /v1/receivers/r1/rotate': { body: RECEIVER } },
    shows: [/s3cret/],
  },
  {
    title: 'issues a token with both scopes that never ends',
    words: ['receiver', 'token', 'r1'],
    sends: [['POST /v1/receivers/r1/tokens', { scopes: ['ssf.read', 'ssf.manage'] }]],
    answers: {
      'POST /v1/receivers/r1/tokens': { status: 201, body: { id: 'k1', token: 'tok', expires_at: null } },
    },
    shows: [/token\s+tok/, /expires_at\s+never/],
  },
  {
    title: 'issues a token with one scope until a day',
    words: ['receiver', 'token', 'r1', '--scope', 'ssf.read', '--expires', '2030-01-01T00:00:00Z'],
    sends: [
      ['POST /v1/receivers/r1/tokens', { scopes: ['ssf.read'], expires_at: '2030-01-01T00:00:00.000Z' }],
    ],
    answers: { 'POST /v1/receivers/r1/tokens': { status: 201, body: { id: 'k1', token: 'tok' } } },
    shows: [/tok/],
  },
  {
    title: 'revokes a token',
    words: ['receiver', 'token', 'r1', '--revoke', 'k1'],
    sends: [['DELETE /v1/receivers/r1/tokens/k1']],
    answers: { 'DELETE /v1/receivers/r1/tokens/k1': { status: 204 } },
    shows: [/revoked token k1/],
  },
  {
    title: 'lists the streams of one receiver',
    words: ['stream', 'list', '--receiver', 'r1'],
    sends: [['GET /v1/streams?receiver_id=r1']],
    answers: {
      'GET /v1/streams': { body: { items: [STREAM, { ...STREAM, failing: { class: 'dns' } }], next: null } },
    },
    shows: [/s1\s+gw\s+poll\s+paused\s+2\s+-\s+busy/, /paused\s+2\s+dns\s+busy/],
  },
  {
    title: 'shows one stream',
    words: ['stream', 'show', 's1'],
    sends: [['GET /v1/streams/s1']],
    answers: { 'GET /v1/streams/s1': { body: STREAM } },
    shows: [/endpoint_url\s+https:\/\/hub\/ssf\/poll\/s1/, /receiver\s+gw/],
  },
  {
    title: 'pauses a stream with a reason',
    words: ['stream', 'pause', 's1', '--reason', 'maintenance'],
    sends: [['POST /v1/streams/s1/pause', { reason: 'maintenance' }]],
    answers: { 'POST /v1/streams/s1/pause': { body: STREAM } },
    shows: [/stream s1 is paused/],
  },
  {
    title: 'enables a stream',
    words: ['stream', 'enable', 's1'],
    sends: [['POST /v1/streams/s1/enable', {}]],
    answers: { 'POST /v1/streams/s1/enable': { body: { ...STREAM, status: 'enabled' } } },
    shows: [/stream s1 is enabled/],
  },
  {
    title: 'sets authorities and a client certificate of a stream, its key from standard input',
    words: ['stream', 'tls', 'set', 's1', '--ca-file', caFile, '--cert-file', certFile, '--key-file', '-'],
    stdin: 'the key',
    sends: [
      [
        'PUT /v1/streams/s1/tls',
        { ca: 'PEM of an authority', certificate: 'PEM of the hub', private_key: 'the key' },
      ],
    ],
    answers: { 'PUT /v1/streams/s1/tls': { body: TLS } },
    shows: [/for +https:\/\/gw:8443\n/, /believes +CN=ca, until then, AB:CD/, /shows +CN=hub, until then/],
  },
  {
    title: 'sets authorities of a stream alone',
    words: ['stream', 'tls', 'set', 's1', '--ca-file', caFile],
    sends: [['PUT /v1/streams/s1/tls', { ca: 'PEM of an authority' }]],
    answers: { 'PUT /v1/streams/s1/tls': { status: 202, body: { ...TLS, client_certificate: null } } },
    shows: [/shows +no certificate/],
  },
  {
    title: 'shows the TLS of a stream that moved since',
    words: ['stream', 'tls', 'show', 's1'],
    sends: [['GET /v1/streams/s1/tls']],
    answers: { 'GET /v1/streams/s1/tls': { body: { ...TLS, in_use: false, ca: [] } } },
    shows: [/not in use +the endpoint of the stream is elsewhere/, /believes +the authorities of the system/],
  },
  {
    title: 'clears the TLS of a stream',
    words: ['stream', 'tls', 'clear', 's1'],
    sends: [['DELETE /v1/streams/s1/tls']],
    answers: { 'DELETE /v1/streams/s1/tls': { status: 204 } },
    shows: [/stream s1 goes by the system's authorities/],
  },
  {
    title: 'emits an event by the last part of its type, about an email',
    words: [
      'emit',
      '--type',
      'session-revoked',
      '--email',
      'a@b.c',
      '--event',
      '{"reason_admin":{"en":"x"}}',
    ],
    sends: [
      [
        'POST /v1/events',
        {
          type: EVENT_TYPES[0],
          sub_id: { format: 'email', email: 'a@b.c' },
          event: { reason_admin: { en: 'x' } },
        },
      ],
    ],
    answers: { 'POST /v1/events': { status: 202, body: { txn: 'x1', event_id: 'e1' } } },
    shows: [/txn\s+x1/, /event_id\s+e1/],
  },
  {
    title: 'emits an event by its full type, about issuer and sub, with its time and txn',
    words: [
      'emit',
      '--type',
      'urn:own:type',
      '--iss-sub',
      'https://idp,al,ice',
      '--at',
      '2026-01-01T00:00:00Z',
    ].concat(['--txn', 'case-7', '--event-file', eventFile]),
    sends: [
      [
        'POST /v1/events',
        {
          type: 'urn:own:type',
          sub_id: { format: 'iss_sub', iss: 'https://idp', sub: 'al,ice' },
          event: { initiating_entity: 'admin' },
          event_timestamp: 1767225600,
          txn: 'case-7',
        },
      ],
    ],
    answers: { 'POST /v1/events': { status: 202, body: { txn: 'case-7', event_id: 'e1' } } },
    shows: [/case-7/],
  },
  {
    title: 'emits an event about a subject from standard input',
    words: ['emit', '--type', 'account-disabled', '--subject-file', '-'],
    stdin: '{"format":"opaque","id":"7"}',
    sends: [['POST /v1/events', { type: EVENT_TYPES[1], sub_id: { format: 'opaque', id: '7' }, event: {} }]],
    answers: { 'POST /v1/events': { status: 202, body: { txn: 'x', event_id: 'e' } } },
    shows: [/event_id/],
  },
  {
    title: 'erases a person and says what it cannot reach',
    words: ['subject', 'erase', '--email', 'a@b.example', '--reason', 'request 7', '--force'],
    sends: [
      [
        'POST /v1/subjects/erase',
        { subject: { format: 'email', email: 'a@b.example' }, reason: 'request 7', force: true },
      ],
    ],
    answers: {
      'POST /v1/subjects/erase': {
        status: 202,
        body: { id: 'x1', state: 'done', events_erased: 3, not_reached: ['Backups.'] },
      },
    },
    shows: [/id\s+x1/, /events_erased\s+3\nnot reached/, /not reached:\n {2}Backups\./],
  },
  {
    title: 'says that nothing was found of a person, whatever was looked at',
    words: ['subject', 'erase', '--email', 'a@b.exmaple', '--reason', 'request 7'],
    sends: [
      [
        'POST /v1/subjects/erase',
        { subject: { format: 'email', email: 'a@b.exmaple' }, reason: 'request 7' },
      ],
    ],
    answers: {
      'POST /v1/subjects/erase': {
        status: 202,
        body: {
          ...{ id: 'x1', state: 'done', events_seen: 9, events_erased: 0, events_owed: 0 },
          ...{ deliveries_discarded: 0, subjects_erased: 0, records_erased: 0, not_reached: [] },
        },
      },
    },
    shows: [/nothing about this subject was found/],
  },
  {
    title: 'lists erasures',
    words: ['subject', 'erasures', '--limit', '1'],
    sends: [['GET /v1/subjects/erasures?limit=1']],
    answers: {
      'GET /v1/subjects/erasures': {
        body: { items: [{ id: 'x1', state: 'waiting', events_owed: 2, reason: 'r' }], next: 'c2' },
      },
    },
    shows: [/x1\s+-\s+waiting\s+-\s+2\s+r/, /--cursor c2/],
  },
  {
    title: 'shows one erasure',
    words: ['subject', 'erasure', 'x1'],
    sends: [['GET /v1/subjects/erasures/x1']],
    answers: {
      'GET /v1/subjects/erasures/x1': { body: { id: 'x1', state: 'running', not_reached: [] } },
    },
    shows: [/state\s+running/],
  },
  {
    title: 'lists event types with what they do',
    words: ['event-type', 'list', '--limit', '2'],
    sends: [['GET /v1/event-types?limit=2']],
    answers: {
      'GET /v1/event-types': {
        body: {
          items: [
            { id: null, type: 'urn:a', family: 'CAEP', effect: 'tightens', lanes: ['urgent'] },
            {
              id: 'y1',
              type: 'urn:b',
              family: 'custom',
              effect: { member: 'state', values: { lost: 'tightens' }, otherwise: 'neutral' },
              lanes: ['urgent', 'routine'],
            },
          ],
          next: 'c2',
        },
      },
    },
    shows: [
      /urn:a\s+CAEP\s+tightens\s+urgent/,
      /state: lost tightens, else neutral\s+urgent, routine/,
      /--cursor c2/,
    ],
  },
  {
    title: 'registers an event type with its schema',
    words: [
      'event-type',
      'add',
      'urn:own:lost',
      '--effect',
      'tightens',
      '--schema',
      '-',
      '--description',
      'lost',
    ],
    stdin: '{"type":"object"}',
    sends: [
      [
        'POST /v1/event-types',
        { type: 'urn:own:lost', effect: 'tightens', schema: { type: 'object' }, description: 'lost' },
      ],
    ],
    answers: {
      'POST /v1/event-types': {
        status: 201,
        body: { id: 'y1', type: 'urn:own:lost', family: 'custom', effect: 'tightens', lanes: ['urgent'] },
      },
    },
    shows: [/id\s+y1/, /effect\s+tightens/],
  },
  {
    title: 'registers an event type whose payload decides',
    words: [
      ...['event-type', 'add', 'urn:own:shift', '--member', 'state', '--otherwise', 'neutral'],
      ...['--value', 'over=tightens', '--value', 'a=b=loosens'],
    ],
    sends: [
      [
        'POST /v1/event-types',
        {
          type: 'urn:own:shift',
          effect: { member: 'state', values: { over: 'tightens', 'a=b': 'loosens' }, otherwise: 'neutral' },
        },
      ],
    ],
    answers: {
      'POST /v1/event-types': {
        status: 201,
        body: { id: 'y1', type: 'urn:own:shift', family: 'custom', effect: 'tightens', lanes: ['urgent'] },
      },
    },
    shows: [/y1/],
  },
  {
    title: 'removes an event type by its id',
    words: ['event-type', 'remove', 'y1'],
    sends: [['DELETE /v1/event-types/y1']],
    answers: { 'DELETE /v1/event-types/y1': { status: 204 } },
    shows: [/removed event type y1/],
  },
  {
    title: 'lists the alerts, with its filters',
    words: ['alerts', '--state', 'all', '--kind', 'sets_parked', '--limit', '5'],
    sends: [['GET /v1/alerts?state=all&kind=sets_parked&limit=5']],
    answers: { 'GET /v1/alerts': { body: { items: [ALERT], next: 'abc' } } },
    shows: [/^OPENED AT .*\nthen +- +critical +stream_failing +stream:s1 +gw fails\nmore: --cursor abc\n$/],
  },
  {
    title: 'says when there is no alert',
    words: ['alerts', 'list'],
    sends: [['GET /v1/alerts']],
    answers: { 'GET /v1/alerts': { body: { items: [], next: null } } },
    shows: [/^no alerts\n$/],
  },
  {
    title: 'lists the alerts without saying list',
    words: ['alerts'],
    sends: [['GET /v1/alerts']],
    answers: { 'GET /v1/alerts': { body: { items: [ALERT], next: null } } },
    shows: [/gw fails/],
  },
  {
    title: 'sends a test alert and says how it went',
    words: ['alerts', 'test'],
    sends: [['POST /v1/alerts/test']],
    answers: {
      'POST /v1/alerts/test': {
        body: {
          notice_id: 'msg_1',
          webhook: { delivered: true, status: 204, failure: null },
          log: null,
        },
      },
    },
    shows: [/^webhook: answered 204\nlog: not configured\n$/],
  },
  {
    title: 'lists what is parked, with its filters',
    words: ['parked', 'list', '--stream', 's1', '--type', 'urn:x', '--txn', 'c', '--from', '2026-01-01'],
    sends: [['GET /v1/parked?stream_id=s1&type=urn%3Ax&txn=c&from=2026-01-01T00%3A00%3A00.000Z']],
    answers: {
      'GET /v1/parked': {
        body: {
          items: [{ id: 'p1', kind: 'delivery', code: 'ERR_X', reason: 'no\u001b[31mway', type: 'a/b' }],
        },
      },
    },
    shows: [/p1\s+-\s+delivery\s+b\s+-\s+ERR_X\s+no�\[31mway/],
  },
  {
    title: 'replays one parked item',
    words: ['parked', 'replay', 'p1'],
    sends: [['POST /v1/parked/p1/replay']],
    answers: { 'POST /v1/parked/p1/replay': { status: 202 } },
    shows: [/replayed p1/],
  },
  {
    title: 'discards one parked item, with why',
    words: ['parked', 'discard', 'p1', '--reason', 'test data'],
    sends: [['POST /v1/parked/p1/discard', { reason: 'test data' }]],
    answers: { 'POST /v1/parked/p1/discard': { body: {} } },
    shows: [/discarded p1/],
  },
  {
    title: 'replays what is parked under a filter, and asks no more once the hub has no more',
    words: ['parked', 'replay', '--stream', 's1', '--code', 'invalid_key'],
    sends: [['POST /v1/parked/replay', { filter: { stream_id: 's1', code: 'invalid_key' } }]],
    answers: {
      'POST /v1/parked/replay': {
        status: 202,
        body: { replayed: 7, left: 2, more: false, to: '2026-03-01T10:00:00.000Z' },
      },
    },
    shows: [/^replayed 7, 2 cannot be: their stream is disabled, or they are too old\n$/],
  },
  {
    title: 'discards what is parked under a filter, with why',
    words: ['parked', 'discard', '--txn', 'c', '--from', '2026-01-01', '--reason', 'test data'],
    sends: [
      [
        'POST /v1/parked/discard',
        { filter: { txn: 'c', from: '2026-01-01T00:00:00.000Z' }, reason: 'test data' },
      ],
    ],
    answers: {
      'POST /v1/parked/discard': {
        body: { discarded: 3, left: 0, more: false, to: '2026-03-01T10:00:00.000Z' },
      },
    },
    shows: [/^discarded 3\n$/],
  },
  {
    title: 'adds an operator',
    words: ['operator', 'add', '--name', 'ann', '--role', 'viewer', '--expires', '2030-01-01'],
    sends: [['POST /v1/operators', { name: 'ann', role: 'viewer', expires_at: '2030-01-01T00:00:00.000Z' }]],
    answers: {
      'POST /v1/operators': { status: 201, body: { id: 'o1', name: 'ann', role: 'viewer', token: 'tk' } },
    },
    shows: [/token\s+tk/, /not shown again/],
  },
  {
    title: 'lists operators',
    words: ['operator', 'list'],
    sends: [['GET /v1/operators']],
    answers: {
      'GET /v1/operators': { body: { items: [{ id: 'o1', name: 'ann', role: 'viewer' }], next: null } },
    },
    shows: [/o1\s+ann\s+viewer\s+-\s+never\s+-/],
  },
  {
    title: 'revokes an operator',
    words: ['operator', 'revoke', 'o1'],
    sends: [['DELETE /v1/operators/o1']],
    answers: { 'DELETE /v1/operators/o1': { status: 204 } },
    shows: [/revoked operator o1/],
  },
]

describe('the commands that call the hub', () => {
  after(() => rmSync(folder, { recursive: true }))

  it('fails when an erasure is not done in time, and says that it goes on', async () => {
    const body = { id: 'x1', state: 'waiting', step: 'held', events_owed: 2, not_reached: [] }
    const hub = await startScriptedHub({
      'POST /v1/subjects/erase': { status: 202, body },
      'GET /v1/subjects/erasures/x1': { body },
    })
    try {
      const words = ['subject', 'erase', '--email', 'a@b.example', '--reason', 'r', '--timeout', '1ms']
      const outcome = await runWords(words, { hooks: hooksFor(hub.url) })
      assert.equal(outcome.code, 1)
      assert.match(outcome.err, /2 events are still owed to receivers.*--force.*firebreak subject erasure x1/)
    } finally {
      await hub.close()
    }
  })

  it('fails when a test alert did not get through, and says why', async () => {
    const refused = { delivered: false, status: 401, failure: 'answered 401' }
    const written = { delivered: true, status: null, failure: null }
    const hub = await startScriptedHub({
      'POST /v1/alerts/test': { body: { notice_id: 'm', webhook: refused, log: written } },
    })
    try {
      const outcome = await runWords(['alerts', 'test'], { hooks: hooksFor(hub.url) })
      assert.equal(outcome.out, 'webhook: failed (answered 401)\nlog: written\n')
      assert.match(outcome.err, /the test did not get through: webhook/)
      assert.equal(outcome.code, 1)
    } finally {
      await hub.close()
    }
  })

  it('removes an event type by its URI, and says when it is none of the registered ones', async () => {
    const hub = await startScriptedHub({
      'GET /v1/event-types': { body: { items: [{ id: 'y1', type: 'urn:own:lost' }], next: null } },
      'DELETE /v1/event-types/y1': { status: 204 },
    })
    try {
      const outcome = await runWords(['event-type', 'remove', 'urn:own:lost'], { hooks: hooksFor(hub.url) })
      assert.equal(outcome.code, 0, outcome.err)
      assert.deepEqual(
        hub.seen.map(({ line }) => line),
        ['GET /v1/event-types?type=urn%3Aown%3Alost', 'DELETE /v1/event-types/y1'],
      )
    } finally {
      await hub.close()
    }
    const empty = await startScriptedHub({ 'GET /v1/event-types': { body: { items: [], next: null } } })
    try {
      const outcome = await runWords(['event-type', 'remove', 'urn:x:y'], { hooks: hooksFor(empty.url) })
      assert.equal(outcome.code, 1)
      assert.match(outcome.err, /urn:x:y is not a registered event type/)
    } finally {
      await empty.close()
    }
    const builtIn = await startScriptedHub({
      'GET /v1/event-types': { body: { items: [{ id: null, type: EVENT_TYPES[1] }], next: null } },
    })
    try {
      const outcome = await runWords(['event-type', 'remove', EVENT_TYPES[1] as string], {
        hooks: hooksFor(builtIn.url),
      })
      assert.equal(outcome.code, 1)
      assert.match(outcome.err, /built in: cannot be removed/)
    } finally {
      await builtIn.close()
    }
  })

  it('replays under a filter until no more is left of what was parked when it began', async () => {
    const to = '2026-03-01T10:00:00.000Z'
    const hub = await startScriptedHub({
      'POST /v1/parked/replay': [
        { status: 202, body: { replayed: 500, left: 12, more: true, to } },
        { status: 202, body: { replayed: 12, left: 0, more: false, to } },
      ],
    })
    try {
      const words = ['parked', 'replay', '--type', 'urn:x', '--json']
      const outcome = await runWords(words, { hooks: hooksFor(hub.url) })
      assert.deepEqual(
        hub.seen.map(({ body }) => body),
        [{ filter: { type: 'urn:x' } }, { filter: { type: 'urn:x', to } }],
      )
      assert.deepEqual(JSON.parse(outcome.out), { replayed: 512, left: 0, more: false, to })
    } finally {
      await hub.close()
    }
  })

  for (const { title, words, sends, answers, shows, stdin } of CASES) {
    it(title, async () => {
      const hub = await startScriptedHub(structuredClone(answers) as Script)
      try {
        const outcome = await runWords(words, { hooks: hooksFor(hub.url), ...(stdin && { stdin }) })
        assert.deepEqual(
          hub.seen.map(({ line, body }) => (body === undefined ? [line] : [line, body])),
          sends,
        )
        assert.ok(hub.seen.every(({ headers }) => headers.authorization === 'Bearer operator-token'))
        for (const pattern of shows) assert.match(outcome.out, pattern)
        assert.equal(outcome.err, '')
        assert.equal(outcome.code, 0)
      } finally {
        await hub.close()
      }
    })

    it(`${title}; with --json prints the API's body`, async () => {
      const hub = await startScriptedHub(structuredClone(answers) as Script)
      try {
        const outcome = await runWords([...words, '--json'], {
          hooks: hooksFor(hub.url),
          ...(stdin && { stdin }),
        })
        const [answer] = Object.values(answers) as { body?: unknown }[]
        assert.deepEqual(JSON.parse(outcome.out), answer?.body ?? {})
        assert.equal(outcome.code, 0)
      } finally {
        await hub.close()
      }
    })
  }
})
