import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hooksFor, runWords } from './run-words.js'
import { startScriptedHub } from './scripted-hub.js'

const ADD = ['transmitter', 'add', '--name', 'n', '--issuer', 'https://i', '--audience', 'a']
const SUBSCRIBE = ['transmitter', 'add', '--discover', 'https://i', '--delivery', 'poll']
const EMIT = ['emit', '--type', 'session-revoked']

const WRONG: [string[], RegExp][] = [
  [['subject', 'erase', '--email', 'a@b'], /required option '--reason <text>'/],
  [['subject', 'erase', '--reason', 'x'], /one of --email, --iss-sub, --subject or --subject-file/],
  [['subject', 'erase', '--reason', 'x', '--subject', '{'], /--subject is not JSON/],
  [['subject', 'erase', '--reason', 'x', '--email', 'a@b', '--timeout', '5'], /Write a duration such as/],
  [['subject', 'erasures', '--limit', '0'], /whole number from 1/],
  [['subject', 'erasure'], /missing required argument/],
  [['event-type', 'add'], /missing required argument/],
  [['event-type', 'add', 'urn:x:y'], /say what it does/],
  [['event-type', 'add', 'urn:x:y', '--effect', 'tightens', '--otherwise', 'neutral'], /say what it does/],
  [['event-type', 'add', 'urn:x:y', '--member', 'a'], /go together/],
  [
    ['event-type', 'add', 'urn:x:y', '--member', 'a', '--value', 'b', '--otherwise', 'neutral'],
    /write value=effect/,
  ],
  [['event-type', 'add', 'urn:x:y', '--effect', 'tightens', '--schema', '/nowhere'], /--schema: cannot read/],
  [['event-type', 'remove'], /missing required argument/],
  [['event-type', 'add', 'urn:x:y', '--effect', 'tighten'], /Allowed choices are tightens, loosens, neutral/],
  [
    ['event-type', 'add', 'urn:x:y', '--member', 'a', '--value', 'b=neutral', '--otherwise', 'tight'],
    /Allowed choices are/,
  ],
  [['stream', 'tls'], /Usage: firebreak stream tls/],
  [['stream', 'tls', 'set'], /missing required argument/],
  [['stream', 'tls', 'set', 's1'], /give --ca-file, or --cert-file and --key-file/],
  [['stream', 'tls', 'set', 's1', '--cert-file', 'c'], /give both --cert-file and --key-file/],
  [['stream', 'tls', 'set', 's1', '--ca-file', 'c', '--key-file', 'k'], /give both/],
  [
    ['stream', 'tls', 'set', 's1', '--cert-file', '-', '--key-file', '-'],
    /only one file can be standard input/,
  ],
  [['stream', 'tls', 'set', 's1', '--ca-file', '/nonexistent'], /--ca-file: cannot read/],
  [['stream', 'tls', 'set', 's1', '--key', 'k'], /unknown option '--key'/],
  [['stream', 'tls', 'show'], /missing required argument/],
  [['stream', 'tls', 'clear'], /missing required argument/],
  [['frobnicate'], /unknown command 'frobnicate'/],
  [['servee'], /Did you mean serve/],
  [['serve', '--port', '1'], /unknown option '--port'/],
  [['serve', 'now'], /too many arguments/],
  [['migrate', 'up'], /too many arguments/],
  [['config', '--all'], /unknown option '--all'/],
  [['transmitter'], /Usage: firebreak transmitter/],
  [['transmitter', 'add'], /--name is missing/],
  [ADD, /one of --jwks-uri, --jwks-file or --discover/],
  [[...ADD, '--discover', '--jwks-uri', 'https://k'], /one of --jwks-uri, --jwks-file or --discover/],
  [[...ADD, '--jwks-file', '/nonexistent'], /--jwks-file: cannot read \/nonexistent \(ENOENT\)/],
  [[...ADD, '--jwks-file', '-', '--authorization-file', '-'], /cannot both be standard input/],
  [['transmitter', 'add', '--name', 'n', '--discover'], /--issuer is missing/],
  [['transmitter', 'add', '--discover', 'https://i'], /--audience is missing/],
  [['transmitter', 'add', '--discover', 'nonsense'], /--discover nonsense is no URL/],
  [[...SUBSCRIBE], /needs a secret: give --secret-file or FIREBREAK_UPSTREAM_SECRET/],
  [[...SUBSCRIBE, '--secret-file', '/nonexistent'], /--secret-file: cannot read/],
  [[...SUBSCRIBE, '--delivery', 'fax'], /Allowed choices are push, poll/],
  [[...SUBSCRIBE, '--client-secret', 's'], /unknown option '--client-secret'/],
  [['transmitter', 'add', '--discover', 'https://i', '--client-id', 'c'], /needs a secret/],
  [['transmitter', 'add', '--discover', 'https://i', '--scope', 's'], /--scope: say --delivery/],
  [[...SUBSCRIBE, '--secret-file', '-', '--scope', 's'], /--scope: say --client-id too/],
  [[...SUBSCRIBE, '--token-endpoint', 'https://t'], /--token-endpoint: say --client-id too/],
  [
    [...SUBSCRIBE, '--authorization-server', 'https://t', '--token-auth-method', 'client_secret_post'],
    /--authorization-server and --token-auth-method: say --client-id too/,
  ],
  [
    [...ADD, '--discover', '--tolerance', 'all'],
    /--tolerance all is not known\. Give one of: allow_sub, session_id_all/,
  ],
  [[...ADD, '--discover', '--tolerance', 'allow_sub,'], /An empty value is not allowed/],
  [
    [...ADD, '--discover', '--urgent-type', 'revoked'],
    /--urgent-type revoked is not known\. Give a full URI/,
  ],
  [['transmitter', 'urgent'], /missing required argument 'id'/],
  [['transmitter', 'urgent', 't', '--add', 'revoked'], /--add revoked is not known\. Give a full URI/],
  [['transmitter', 'urgent', 't', '--remove', 'revoked'], /--remove revoked is not known/],
  [['transmitter', 'urgent', 't', '--add', ''], /An empty value is not allowed/],
  [['transmitter', 'verify'], /missing required argument 'id'/],
  [[...ADD, '--authorization', 'secret'], /unknown option '--authorization'/],
  [['transmitter', 'list', '--limit', '0'], /whole number from 1/],
  [['transmitter', 'show'], /missing required argument 'id'/],
  [['transmitter', 'remove'], /missing required argument 'id'/],
  [['receiver'], /Usage: firebreak receiver/],
  [['receiver', 'add'], /required option '--name <name>'/],
  [['receiver', 'add', '--name', 'n', '--default-subjects', 'SOME'], /Allowed choices are ALL, NONE/],
  [['receiver', 'list', 'all'], /too many arguments/],
  [['receiver', 'remove'], /missing required argument 'id'/],
  [['receiver', 'rotate'], /missing required argument 'id'/],
  [['receiver', 'token'], /missing required argument 'id'/],
  [['receiver', 'token', 'r', '--scope', 'ssf.kill'], /--scope must be ssf.read or ssf.manage, not ssf.kill/],
  [['receiver', 'token', 'r', '--expires', 'soon'], /Write a time such as/],
  [['receiver', 'token', 'r', '--revoke', 'k', '--scope', 'ssf.read'], /--revoke goes with neither/],
  [['receiver', 'test'], /missing required argument 'id'/],
  [['receiver', 'test', 'r', '--timeout', '5'], /Write a duration such as/],
  [['stream'], /Usage: firebreak stream/],
  [['stream', 'list', '--limit', 'many'], /whole number from 1/],
  [['stream', 'show'], /missing required argument 'id'/],
  [['stream', 'pause'], /missing required argument 'id'/],
  [['stream', 'enable'], /missing required argument 'id'/],
  [['emit'], /required option '--type <type>'/],
  [EMIT, /one of --email, --iss-sub, --subject or --subject-file/],
  [[...EMIT, '--email', 'a@b', '--subject', '{}'], /one of --email, --iss-sub, --subject or --subject-file/],
  [[...EMIT, '--iss-sub', 'alice'], /--iss-sub is issuer,sub/],
  [[...EMIT, '--subject', '{'], /--subject is not JSON/],
  [[...EMIT, '--subject', '[]'], /--subject must be a JSON object/],
  [[...EMIT, '--email', 'a@b', '--event', '"x"'], /--event must be a JSON object/],
  [
    ['emit', '--type', 'nope', '--email', 'a@b'],
    /--type nope is not known.*session-revoked, account-disabled/,
  ],
  [[...EMIT, '--subject-file', '-', '--event-file', '-'], /cannot both be standard input/],
  [['tail', '--events-only', '--deliveries-only'], /leave nothing to show/],
  [['tail', '--interval', '1ms'], /--interval must be at least 100ms/],
  [['parked'], /Usage: firebreak parked/],
  [['parked', 'list', '--from', 'yesterday'], /Write a time such as/],
  [['parked', 'replay'], /Name one id, or a filter: --stream/],
  [['parked', 'replay', 'p1', '--stream', 's1'], /Name one id, or a filter/],
  [['parked', 'replay', '--to', 'tomorrow'], /Write a time such as/],
  [['parked', 'discard', '--reason', 'test data'], /Name one id, or a filter/],
  [['parked', 'discard', '--code', 'invalid_key'], /required option '--reason <text>'/],
  [['parked', 'discard', 'p1'], /required option '--reason <text>'/],
  [['alerts', '--state', 'odd'], /Allowed choices are open, resolved, all/],
  [['alerts', 'list', '--limit', '0'], /whole number from 1/],
  [['alerts', 'test', 'now'], /too many arguments/],
  [['alerts', 'silence'], /too many arguments/],
  [['time-to-revoke', '--stage', 'sent'], /Allowed choices are received, applied, verified/],
  [['time-to-revoke', '--group-by', 'colour'], /Choose from stream, event_type, source, point/],
  [['time-to-revoke', '--slo', 'fast'], /Write a number of milliseconds/],
  [['operator'], /Usage: firebreak operator/],
  [['operator', 'add', '--name', 'n'], /required option '--role <role>'/],
  [['operator', 'add', '--name', 'n', '--role', 'king'], /Allowed choices are viewer/],
  [['operator', 'list', '--all'], /unknown option '--all'/],
  [['operator', 'revoke'], /missing required argument 'id'/],
  [['operator', 'reset', 'now'], /too many arguments/],
  [['demo', 'twice'], /too many arguments/],
  [['receiver', 'list', '--url', 'ftp://hub'], /--url must be the hub's http or https address/],
  [['receiver', 'list', '--url', 'http://hub.example.com'], /--url must be https/],
  [['keys', 'rotate', '--use', 'oauth'], /Allowed choices are set, log, ring/],
  [['keys', 'rotate', '--alg', 'HS256'], /Allowed choices are RS256, ES256/],
  [['keys', 'retire'], /missing required argument 'kid'/],
  [['receiver', 'list', '--token', 'abc'], /unknown option '--token'/],
  [['receiver', 'list', '--token-file', '/nonexistent'], /--token-file: cannot read/],
]

describe('a wrong command line', () => {
  for (const [words, message] of WRONG) {
    it(`ends with 2 and says why: firebreak ${words.join(' ')}`, async () => {
      const outcome = await runWords(words)
      assert.match(outcome.err, message)
      assert.equal(outcome.out, '')
      assert.equal(outcome.code, 2)
    })
  }

  it('ends with 2 when FIREBREAK_URL is not an address', async () => {
    const outcome = await runWords(['receiver', 'list'], {
      hooks: { clientConfig: () => ({ firebreakUrl: 'hub', dataDir: '/nonexistent' }) },
    })
    assert.match(outcome.err, /FIREBREAK_URL must be the hub's http or https address/)
    assert.equal(outcome.code, 2)
  })

  it('ends with 2 when a secret file holds more than one line', async () => {
    const outcome = await runWords([...ADD, '--discover', '--authorization-file', '-'], { stdin: 'a\nb\n' })
    assert.match(outcome.err, /--authorization-file: standard input must hold exactly one line/)
    assert.equal(outcome.code, 2)
  })
})

describe('help', () => {
  it('goes to standard output with examples and exit code 0', async () => {
    for (const words of [['--help'], ['transmitter', 'add', '--help'], ['time-to-revoke', '--help']]) {
      const outcome = await runWords(words)
      assert.match(outcome.out, /Examples:\n {2}\$ firebreak /)
      assert.equal(outcome.code, 0)
    }
  })

  it('shows default durations with their unit', async () => {
    assert.match((await runWords(['tail', '--help'])).out, /--interval <duration>.*\(default: 500ms\)/)
    assert.match(
      (await runWords(['receiver', 'test', '--help'])).out,
      /--timeout <duration>.*\(default: 15s\)/,
    )
  })

  it('names the version', async () => {
    assert.deepEqual(await runWords(['--version']), { code: 0, out: '0.0.0-test\n', err: '' })
  })
})

describe('the commands without a hub', () => {
  it('serves until the hub has drained', async () => {
    let served = 0
    const serve = async () => {
      served += 1
    }
    const outcome = await runWords(['serve'], { hooks: { serve } })
    assert.equal(served, 1)
    assert.equal(outcome.code, 0)
  })

  it('says what was migrated, and when there was nothing', async () => {
    const migrate = async () => ({ applied: ['a.js', 'b.js'] })
    assert.equal((await runWords(['migrate'], { hooks: { migrate } })).out, 'applied a.js\napplied b.js\n')
    const json = await runWords(['migrate', '--json'], { hooks: { migrate } })
    assert.deepEqual(JSON.parse(json.out), { applied: ['a.js', 'b.js'] })
    const nothing = await runWords(['migrate'], { hooks: { migrate: async () => ({ applied: [] }) } })
    assert.match(nothing.out, /up to date/)
  })

  it('prints the settings, and the OpenAPI document', async () => {
    const printed = await runWords(['openapi'], { hooks: { openApi: () => ({ openapi: '3.1.1' }) } })
    assert.deepEqual(JSON.parse(printed.out), { openapi: '3.1.1' })
    const outcome = await runWords(['config'], { hooks: { printConfig: () => 'PORT=8080' } })
    assert.deepEqual(outcome, { code: 0, out: 'PORT=8080\n', err: '' })
  })

  it('prints the new admin token of a reset', async () => {
    const resetOperator = async () => ({ token: 'tok', name: 'admin' })
    const outcome = await runWords(['operator', 'reset'], { hooks: { resetOperator } })
    assert.match(outcome.out, /token\s+tok\nKeep the token now/)
    const kept = async () => ({ token: 'tok', name: 'admin', file: '/data/admin-token' })
    const told = await runWords(['operator', 'reset'], { hooks: { resetOperator: kept } })
    assert.match(told.out, /It is also in \/data\/admin-token/)
    const json = await runWords(['operator', 'reset', '--json'], { hooks: { resetOperator } })
    assert.deepEqual(JSON.parse(json.out), { token: 'tok', name: 'admin' })
  })

  it('ends with 1 and one line when a hook fails', async () => {
    const migrate = async () => {
      throw new Error('disk full')
    }
    const outcome = await runWords(['migrate'], { hooks: { migrate } })
    assert.deepEqual(outcome, { code: 1, out: '', err: 'firebreak: unexpected error: disk full\n' })
  })
})

describe('a hub that does not do as asked', () => {
  const list = ['receiver', 'list']

  it('cannot be reached: exit 3, naming the setting', async () => {
    const hub = await startScriptedHub({})
    await hub.close()
    const outcome = await runWords(list, { hooks: hooksFor(hub.url) })
    assert.match(outcome.err, /^firebreak: cannot reach the hub at http:\/\/127.0.0.1:\d+ \(ECONNREFUSED\)/)
    assert.match(outcome.err, /FIREBREAK_URL/)
    assert.equal(outcome.code, 3)
  })

  const ANSWERS: [string, object, RegExp][] = [
    ['a refused token', { status: 401 }, /refused the token from FIREBREAK_TOKEN. Set FIREBREAK_TOKEN/],
    [
      'a missing role',
      { status: 403, body: { code: 'ERR_FORBIDDEN', message: 'needs admin' } },
      /needs admin \(ERR_FORBIDDEN\)/,
    ],
    [
      'an error of the API',
      { status: 404, body: { code: 'ERR_NOT_FOUND', message: 'no such' } },
      /^firebreak: no such \(ERR_NOT_FOUND\)\n$/,
    ],
    [
      'a busy hub',
      { status: 503, body: { code: 'ERR_UNAVAILABLE', message: 'later' }, headers: { 'retry-after': '2' } },
      /Try again in 2 s/,
    ],
    ['an error without a body', { status: 500 }, /answered 500 Internal Server Error/],
    ['something other than JSON', { text: '<html>' }, /something other than JSON/],
  ]
  for (const [what, answer, message] of ANSWERS) {
    it(`answers with ${what}: exit 1`, async () => {
      const hub = await startScriptedHub({ 'GET /v1/receivers': answer })
      const outcome = await runWords(list, { hooks: hooksFor(hub.url) }).finally(() => hub.close())
      assert.match(outcome.err, message)
      assert.equal(outcome.out, '')
      assert.equal(outcome.code, 1)
    })
  }

  it('redirects: the token does not follow', async () => {
    const other = await startScriptedHub({ 'GET /v1/receivers': { body: { items: [] } } })
    const hub = await startScriptedHub({
      'GET /v1/receivers': { status: 307, headers: { location: `${other.url}/v1/receivers` } },
    })
    const outcome = await runWords(list, { hooks: hooksFor(hub.url) })
    await Promise.all([hub.close(), other.close()])
    assert.equal(other.seen.length, 0)
    assert.equal(outcome.code, 3)
  })
})

describe('the local hub', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'firebreak-data-'))
  after(() => rmSync(dataDir, { recursive: true }))

  it('is found in the data folder with its admin token, which goes to no other hub', async () => {
    const script = { 'GET /v1/receivers': { body: { items: [] } } }
    const local = await startScriptedHub(script)
    const other = await startScriptedHub(script)
    writeFileSync(
      join(dataDir, 'hub.json'),
      JSON.stringify({ url: local.url, management_url: 'http://x', pid: 1 }),
    )
    writeFileSync(join(dataDir, 'admin-token'), 'local-admin\n')
    await runWords(['receiver', 'list'], { hooks: { clientConfig: () => ({ dataDir }) } })
    await runWords(['receiver', 'list'], {
      hooks: { clientConfig: () => ({ dataDir, firebreakUrl: other.url }) },
    })
    await runWords(['receiver', 'list', '--token-file', '-', '--url', other.url], {
      hooks: { clientConfig: () => ({ dataDir }) },
      stdin: 'given\n',
    })
    await Promise.all([local.close(), other.close()])
    assert.deepEqual(
      local.seen.map(({ headers }) => headers.authorization),
      ['Bearer local-admin'],
    )
    assert.deepEqual(
      other.seen.map(({ headers }) => headers.authorization),
      [undefined, 'Bearer given'],
    )
  })
})
