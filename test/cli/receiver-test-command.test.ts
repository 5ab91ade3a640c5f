import assert from 'node:assert/strict'
import { hooksFor, type Outcome, runWords } from './run-words.js'
import { type ScriptedAnswer, type SeenRequest, startScriptedHub } from './scripted-hub.js'

const VERIFICATION = 'https://schemas.openid.net/secevent/ssf/event-type/verification'
const STREAM = {
  stream_id: 's1',
  delivery: { method: 'urn:ietf:rfc:8935' },
  receiver: { id: 'r1', name: 'gw' },
}
const OLD = { event_id: 'e0', state: 'received' }

async function test(
  deliveries: object[][],
  options: { streams?: object[]; verify?: ScriptedAnswer } = {},
): Promise<Outcome & { seen: SeenRequest[] }> {
  const hub = await startScriptedHub({
    'GET /v1/streams': { body: { items: options.streams ?? [STREAM] } },
    'POST /v1/receivers/r1/tokens': { status: 201, body: { id: 'k1', token: 'short-lived' } },
    'POST /ssf/verify': options.verify ?? { status: 204 },
    'GET /v1/deliveries': deliveries.map((items) => ({ body: { items } })),
    'DELETE /v1/receivers/r1/tokens/k1': { status: 204 },
  })
  const words = ['receiver', 'test', 'r1', '--timeout', '300ms']
  const outcome = await runWords(words, { hooks: hooksFor(hub.url) })
  await hub.close()
  return { ...outcome, seen: hub.seen }
}

describe('firebreak receiver test', () => {
  it('asks for a verification as the receiver, waits until it is received, and takes the token back', async () => {
    const { code, out, seen } = await test([[OLD], [OLD], [{ event_id: 'e1', state: 'received' }, OLD]])
    assert.equal(code, 0)
    assert.match(out, /s1\s+push\s+received\s+\d+/)
    const verify = seen.find(({ line }) => line === 'POST /ssf/verify')
    assert.deepEqual(verify?.body, { stream_id: 's1' })
    assert.equal(verify?.headers.authorization, 'Bearer short-lived')
    const looks = seen.filter(({ line }) => line.startsWith('GET /v1/deliveries'))
    assert.equal(
      looks[0]?.line,
      `GET /v1/deliveries?stream_id=s1&type=${encodeURIComponent(VERIFICATION)}&limit=1`,
    )
    assert.equal(seen.at(-1)?.line, 'DELETE /v1/receivers/r1/tokens/k1')
  })

  it('fails with the reason when it was not received in time', async () => {
    const { code, out, err, seen } = await test([
      [],
      [{ event_id: 'e1', state: 'queued', failure: 'ECONNREFUSED' }],
    ])
    assert.equal(code, 1)
    assert.match(out, /s1\s+push\s+queued\s+\d+\s+ECONNREFUSED/)
    assert.match(err, /1 of 1 streams did not receive/)
    assert.equal(seen.at(-1)?.line, 'DELETE /v1/receivers/r1/tokens/k1')
  })

  it('takes the token back when the hub refuses the verification', async () => {
    const { code, seen } = await test([[]], {
      verify: { status: 429, body: { code: 'ERR_TOO_MANY_REQUESTS' } },
    })
    assert.equal(code, 1)
    assert.equal(seen.at(-1)?.line, 'DELETE /v1/receivers/r1/tokens/k1')
  })

  it('fails when the receiver has no stream', async () => {
    const { code, err } = await test([[]], { streams: [] })
    assert.equal(code, 1)
    assert.match(err, /has no stream yet/)
  })
})
