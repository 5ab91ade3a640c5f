import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { type Script, type ScriptedHub, startScriptedHub } from './scripted-hub.js'

const ENTRY = fileURLToPath(new URL('./cli-process.js', import.meta.url))
const EVENT = {
  event_id: 'e1',
  type: 'https://x/session-revoked',
  lane: 'urgent',
  state: 'accepted',
  txn: 'case-1',
  source: { id: 't1', name: 'idp' },
  accepted_at: '2026-01-01T10:00:00.100Z',
}
const QUEUED = {
  event_id: 'e1',
  stream_id: 's1',
  type: EVENT.type,
  state: 'queued',
  attempts: 0,
  jti: 'j1',
  receiver: { id: 'r1', name: 'gateway' },
  accepted_at: EVENT.accepted_at,
}
const RECEIVED = { ...QUEUED, state: 'received', attempts: 1, received_at: '2026-01-01T10:00:00.300Z' }
const FROM = ['--from', '2026-01-01T10:00:00Z', '--interval', '100ms']

/** Runs `tail` until its output satisfies, then presses Ctrl-C. */
async function tail(script: Script, words: string[], until: (out: string) => boolean) {
  const hub: ScriptedHub = await startScriptedHub(script)
  const child = spawn(process.execPath, [ENTRY, hub.url, 'tail', ...words])
  let out = ''
  let err = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text
  })
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text
    if (until(out)) child.kill('SIGINT')
  })
  const [code] = (await once(child, 'exit')) as [number | null]
  await hub.close()
  return { code, out, err, seen: hub.seen.map(({ line }) => line) }
}

describe('firebreak tail', () => {
  it('shows what came in and each state of what went out once, and ends quietly on Ctrl-C with 130', async () => {
    const script: Script = {
      'GET /v1/events': { body: { items: [EVENT] } },
      'GET /v1/deliveries': [
        { body: { items: [QUEUED] } },
        { body: { items: [QUEUED] } },
        { body: { items: [RECEIVED], next: 'more' } },
        { body: { items: [{ ...RECEIVED, stream_id: 's2' }] } },
      ],
    }
    const { code, out, err, seen } = await tail(script, FROM, (text) => /s2/.test(text))
    assert.deepEqual(out.trim().split('\n'), [
      '10:00:00.100 ⇒ in  session-revoked accepted from=idp txn=case-1',
      '10:00:00.100 → out session-revoked queued to=gateway stream=s1 jti=j1 attempts=0',
      '10:00:00.300 → out session-revoked received to=gateway stream=s1 jti=j1 attempts=1',
      '10:00:00.300 → out session-revoked received to=gateway stream=s2 jti=j1 attempts=1',
    ])
    assert.equal(seen[0], 'GET /v1/events?from=2026-01-01T10%3A00%3A00.000Z')
    assert.ok(seen.includes('GET /v1/deliveries?from=2026-01-01T10%3A00%3A00.000Z&cursor=more'))
    assert.equal(err, '')
    assert.equal(code, 130)
  })

  it('filters, and prints one JSON object a line', async () => {
    const words = [...FROM, '--deliveries-only', '--stream', 's1', '--type', 'urn:x', '--txn', 'c', '--json']
    const script = { 'GET /v1/deliveries': { body: { items: [RECEIVED] } } }
    const { out, seen } = await tail(script, words, (text) => text.endsWith('\n'))
    assert.deepEqual(JSON.parse(out), RECEIVED)
    assert.equal(
      seen[0],
      'GET /v1/deliveries?from=2026-01-01T10%3A00%3A00.000Z&type=urn%3Ax&txn=c&stream_id=s1',
    )
  })

  it('waits for a hub that was there before, and not for one that never was', async () => {
    const script: Script = {
      'GET /v1/events': [
        { body: { items: [EVENT] } },
        { status: 503, body: { code: 'ERR_UNAVAILABLE', message: 'restarting' } },
        { body: { items: [{ ...EVENT, event_id: 'e2', txn: 'case-2' }] } },
      ],
    }
    const { out, err, code } = await tail(script, [...FROM, '--events-only'], (text) => /case-2/.test(text))
    assert.match(out, /case-1[\s\S]*case-2/)
    assert.match(err, /restarting \(ERR_UNAVAILABLE\) Waiting/)
    assert.equal(code, 130)
    const never = await tail({ 'GET /v1/events': { status: 503 } }, ['--events-only'], () => false)
    assert.equal(never.code, 1)
  })
})
