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
    'POST /v1/streams/s1/verify': options.verify ?? { status: 204 },
    'GET /v1/deliveries': deliveries.map((items) => ({ body: { items } })),
  })
  const words = ['receiver', 'test', 'r1', '--timeout', '300ms']
  const outcome = await runWords(words, { hooks: hooksFor(hub.url) })
  await hub.close()
  return { ...outcome, seen: hub.seen }
}

describe('firebreak receiver test', () => {
  it('asks for a verification of each stream and waits until it is received', async () => {
    const { code, out, seen } = await test([[OLD], [OLD], [{ event_id: 'e1', state: 'received' }, OLD]])
    assert.equal(code, 0)
    assert.match(out, /s1\s+push\s+received\s+\d+/)
    assert.equal(seen.filter(({ line }) => line === 'POST /v1/streams/s1/verify').length, 1)
    const looks = seen.filter(({ line }) => line.startsWith('GET /v1/deliveries'))
    assert.equal(
      looks[0]?.line,
      `GET /v1/deliveries?stream_id=s1&type=${encodeURIComponent(VERIFICATION)}&limit=1`,
    )
  })

  it('fails with the reason when it was not received in time', async () => {
    const { code, out, err } = await test([
      [],
      [{ event_id: 'e1', state: 'queued', failure: 'ECONNREFUSED' }],
    ])
    assert.equal(code, 1)
    assert.match(out, /s1\s+push\s+queued\s+\d+\s+ECONNREFUSED/)
    assert.match(err, /1 of 1 streams did not receive/)
  })

  it('fails when the hub refuses the verification', async () => {
    const { code, err } = await test([[]], {
      verify: { status: 429, body: { code: 'ERR_TOO_MANY_REQUESTS', message: 'too often' } },
    })
    assert.equal(code, 1)
    assert.match(err, /too often/)
  })

  it('fails when the receiver has no stream', async () => {
    const { code, err } = await test([[]], { streams: [] })
    assert.equal(code, 1)
    assert.match(err, /has no stream yet/)
  })
})
