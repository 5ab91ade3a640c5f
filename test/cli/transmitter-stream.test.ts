import assert from 'node:assert/strict'
import { EVENT_TYPES, hooksFor, runWords } from './run-words.js'
import { type Script, startScriptedHub } from './scripted-hub.js'

const SUBSCRIBE = ['transmitter', 'add', '--discover', 'https://idp.example.com/t1', '--delivery', 'poll']
const STREAM = {
  state: 'active',
  stream_id: 's1',
  status: 'enabled',
  events_missing: [],
  verified_at: '2026-01-01T00:00:00.000Z',
  last_error: null,
}
const shown = (change: object) => ({ body: { id: 't1', name: 'idp', stream: { ...STREAM, ...change } } })
const UNVERIFIED = shown({ state: 'setup', verified_at: null })
const CREATED = { status: 201, body: { id: 't1', name: 'idp', stream: { state: 'setup' } } }

describe('transmitter commands with a stream of the hub', () => {
  async function run(words: string[], answers: Script, options: { stdin?: string; secret?: string } = {}) {
    const hub = await startScriptedHub(answers)
    try {
      const { clientConfig } = hooksFor(hub.url)
      const hooks = {
        clientConfig: () => ({
          ...clientConfig?.(),
          dataDir: '/nonexistent',
          firebreakUpstreamSecret: options.secret,
        }),
      }
      const outcome = await runWords(words, { hooks, ...(options.stdin && { stdin: options.stdin }) })
      return { ...outcome, seen: hub.seen.map(({ line, body }) => [line, body]) }
    } finally {
      await hub.close()
    }
  }

  it('subscribe with client credentials, and wait until the stream is verified', async () => {
    const words = [
      '--client-id',
      'c1',
      '--secret-file',
      '-',
      '--event',
      'session-revoked',
      '--scope',
      'ssf.read',
    ]
    const { code, out, err, seen } = await run(
      [...SUBSCRIBE, ...words],
      { 'POST /v1/transmitters': CREATED, 'GET /v1/transmitters/t1': [UNVERIFIED, shown({})] },
      { stdin: 'canary\n' },
    )
    const delivery = {
      method: 'poll',
      events_requested: [EVENT_TYPES[0]],
      credentials: { client_id: 'c1', client_secret: 'canary', scope: 'ssf.read' },
    }
    assert.deepEqual(seen, [
      [
        'POST /v1/transmitters',
        { name: 'idp.example.com', discover: 'https://idp.example.com/t1', delivery },
      ],
      ['GET /v1/transmitters/t1', undefined],
      ['GET /v1/transmitters/t1', undefined],
    ])
    assert.match(out, /state +active/)
    assert.match(out, /verified_at +2026/)
    assert.equal(err, '')
    assert.equal(code, 0)
  })

  it('take the secret from the environment, as a token without a client', async () => {
    const { code, out, seen } = await run(
      [...SUBSCRIBE, '--name', 'idp', '--audience', 'a', '--no-wait'],
      { 'POST /v1/transmitters': CREATED },
      { secret: 'from-the-environment' },
    )
    const [[, body]] = seen as [[string, Record<string, unknown>]]
    assert.equal(body.name, 'idp')
    assert.deepEqual(body.audience, ['a'])
    assert.deepEqual(body.delivery, { method: 'poll', credentials: { token: 'from-the-environment' } })
    assert.match(out, /stream +setup/)
    assert.equal(code, 0)
  })

  it('poll unless told to be pushed to', async () => {
    for (const [words, method] of [
      [['--client-id', 'c1'], 'poll'],
      [['--client-id', 'c1', '--delivery', 'push'], 'push'],
    ] as const) {
      const { seen } = await run(
        ['transmitter', 'add', '--discover', 'https://idp.example.com/t1', '--no-wait', ...words],
        { 'POST /v1/transmitters': CREATED },
        { secret: 's' },
      )
      const [[, body]] = seen as [[string, Record<string, unknown>]]
      const credentials = { client_id: 'c1', client_secret: 's' }
      assert.deepEqual(body.delivery, { method, credentials })
    }
    const { seen: sent } = await run(
      ['transmitter', 'add', '--discover', 'https://idp.example.com/t1', '--secret-file', '-', '--no-wait'],
      { 'POST /v1/transmitters': CREATED },
      { stdin: 'token\n' },
    )
    const [[, body]] = sent as [[string, Record<string, unknown>]]
    assert.deepEqual(body.delivery, { method: 'poll', credentials: { token: 'token' } })
  })

  it('end with 1 and the last error when no verification comes', async () => {
    const failing = shown({
      state: 'stopped',
      verified_at: null,
      last_error: 'The stream is for another audience.',
    })
    const { code, out, err } = await run(
      [...SUBSCRIBE],
      { 'POST /v1/transmitters': CREATED, 'GET /v1/transmitters/t1': failing },
      { secret: 's' },
    )
    assert.equal(code, 1)
    assert.match(out, /state +stopped/)
    assert.match(err, /not verified yet \(stopped\): The stream is for another audience/)
    const late = await run(['transmitter', 'verify', 't1', '--timeout', '300ms'], {
      'POST /v1/transmitters/t1/verify': { status: 202, body: {} },
      'GET /v1/transmitters/t1': UNVERIFIED,
    })
    assert.equal(late.code, 1)
  })

  it('ask for a verification, and print what the API says with --json', async () => {
    const { code, out, seen } = await run(['transmitter', 'verify', 't1', '--json'], {
      'POST /v1/transmitters/t1/verify': { status: 202, body: {} },
      'GET /v1/transmitters/t1': [UNVERIFIED, shown({})],
    })
    assert.equal(seen[0]?.[0], 'POST /v1/transmitters/t1/verify')
    assert.deepEqual(JSON.parse(out), shown({}).body)
    assert.equal(code, 0)
  })

  it('list and show the state of the stream', async () => {
    const list = await run(['transmitter', 'list'], {
      'GET /v1/transmitters': {
        body: { items: [shown({}).body, UNVERIFIED.body, shown({ status: 'paused' }).body], next: null },
      },
    })
    assert.match(list.out, /STREAM\n/)
    for (const state of [/ enabled\n/, / setup\n/, / paused\n/]) assert.match(list.out, state)
    const one = await run(['transmitter', 'show', 't1'], { 'GET /v1/transmitters/t1': shown({}) })
    assert.match(one.out, /stream\.verified_at +2026/)
  })
})
