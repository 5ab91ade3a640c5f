import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { startHub } from '../support/hub-process.js'
import { ADMIN_TOKEN } from '../support/order-real-hub.js'
import type { ScriptedTransmitter, TransmitterCall } from '../support/scripted-transmitter.js'
import { waitUntil } from '../support/wait.js'
import { type HubBelow, startHubBelow } from './hub-below.js'

const acksOf = ({ body }: TransmitterCall) => (body.ack as string[] | undefined) ?? []

describe('upstream: polls (RFC 8936)', function () {
  this.timeout(90_000)
  let below: HubBelow
  let transmitter: ScriptedTransmitter
  let id: string

  before(async () => {
    below = await startHubBelow()
  })
  after(() => below?.close())
  beforeEach(async () => {
    transmitter = await below.newTransmitter()
    id = await below.verified(transmitter, 'poll')
    await settled()
  })

  /** The verification has been acknowledged. */
  const settled = () =>
    waitUntil(
      'all was acknowledged',
      () => transmitter.stream().sets.size === 0 && transmitter.acked.length > 0,
    )
  const emit = async (set: Record<string, unknown> = {}): Promise<{ jti: string; txn: string }> => {
    const txn = randomUUID()
    return { jti: await transmitter.emit({ set: { txn, ...set } }), txn }
  }

  it('acknowledges with the next poll what is durable, and only then (R-41)', async () => {
    const { jti, txn } = await emit()
    const event = await below.taken(txn)
    assert.equal(event.state, 'accepted')
    await waitUntil('it was acknowledged', () => transmitter.acked.includes(jti))
    const rows = await below.database.db('events').where({ txn }).select()
    assert.equal(rows.length, 1)
    const withAck = transmitter.called('poll').find((call) => acksOf(call).includes(jti))
    assert.ok(withAck?.headers.authorization?.startsWith('Bearer '))
    assert.equal(withAck?.query.get('tenant'), 'a b', 'the query of the endpoint is kept (R-18)')
    assert.equal((await below.read(id)).stream?.last_error, null)
  })

  it('keeps the delay of the source apart for a polled event', async () => {
    const { txn } = await emit()
    await below.taken(txn)
    const [row] = await below.database
      .db('events')
      .where({ txn })
      .select(below.database.db.raw('extract(epoch from accepted_at - event_timestamp)::float as delay_s'))
    assert.ok(row.delay_s >= 29 && row.delay_s < 60, String(row.delay_s))
  })

  it('reports what it refuses, in English, and does not acknowledge it (R-42)', async () => {
    const bad: [jti: string, set: string, err: string][] = [
      ['not-a-set', 'nonsense', 'invalid_request'],
      [
        'wrong-aud',
        await transmitter.sign({ jti: 'wrong-aud', aud: 'https://else.example', events: { a: {} } }),
        'invalid_audience',
      ],
      [
        'wrong-iss',
        await transmitter.sign({ jti: 'wrong-iss', iss: 'https://else.example', events: { a: {} } }),
        'invalid_issuer',
      ],
      [
        'tampered',
        `${(await transmitter.sign({ jti: 'tampered', events: { a: {} } })).slice(0, -6)}AAAAAA`,
        'invalid_key',
      ],
      // RFC 8936 §2.3: the name is what would be acknowledged.
      ['another-name', await transmitter.sign({ jti: 'its-own', events: { a: {} } }), 'invalid_request'],
    ]
    for (const [jti, set] of bad) transmitter.queue(jti, set)
    const good = await emit()
    await below.taken(good.txn)
    await waitUntil('all were reported', () => transmitter.refused.size === bad.length)
    for (const [jti, , err] of bad) {
      assert.equal(transmitter.refused.get(jti)?.err, err, jti)
      assert.ok((transmitter.refused.get(jti)?.description ?? '').length > 10, jti)
      assert.ok(!transmitter.acked.includes(jti), jti)
    }
    const reports = transmitter.called('poll').filter(({ body }) => body.setErrs !== undefined)
    for (const { headers } of reports) assert.equal(headers['content-language'], 'en')
    await waitUntil('the good one was acknowledged', () => transmitter.acked.includes(good.jti))
  })

  it('takes and acknowledges a repeat, with one effect (R-43)', async () => {
    const txn = randomUUID()
    const jti = randomUUID()
    await transmitter.emit({ jti, set: { txn } })
    await below.taken(txn)
    await waitUntil('it was acknowledged', () => transmitter.acked.includes(jti))
    await transmitter.emit({ jti, set: { txn } })
    await waitUntil(
      'it was acknowledged again',
      () => transmitter.acked.filter((acked) => acked === jti).length > 1,
    )
    assert.equal((await below.database.db('events').where({ txn }).select()).length, 1)
  })

  it('asks again at once while there is more, and takes all (R-44)', async () => {
    const txns: string[] = []
    for (let number = 0; number < 120; number += 1) txns.push((await emit()).txn)
    await waitUntil('all were acknowledged', () => transmitter.stream().sets.size === 0)
    for (const call of transmitter.called('poll')) assert.equal(call.body.maxEvents, 50)
    await below.taken(txns.at(-1) as string)
    const rows = await below.database.db('events').whereIn('txn', txns).select()
    assert.equal(rows.length, txns.length)
  })

  const TROUBLES: [title: string, answer: { status: number; body?: unknown; cut?: boolean }][] = [
    ['an internal error', { status: 500, body: 'oops' }],
    ['a 429', { status: 429 }],
    ['a 403', { status: 403 }],
    ['a redirect', { status: 302 }],
    ['an answer that is no JSON', { status: 200, body: '<html>' }],
    ['an answer whose sets are a list', { status: 200, body: { sets: [] } }],
    ['a connection that ends', { status: 0, cut: true }],
  ]
  for (const [title, trouble] of TROUBLES) {
    it(`goes on after ${title}, and tells of it meanwhile (R-45)`, async () => {
      let times = 0
      transmitter.react.poll = () => {
        times += 1
        return trouble
      }
      await below.until(id, 'the error is shown', ({ last_error }) => /^Polling/.test(last_error ?? ''))
      const seen = times
      delete transmitter.react.poll
      const { txn } = await emit()
      await below.taken(txn)
      await below.until(id, 'the error is over', ({ last_error }) => last_error === null)
      assert.ok(seen < 20, `it backs off, and does not ask ${seen} times`)
    })
  }

  it('takes an error of polls away that another process noted', async () => {
    const error = { last_error: 'Polling: status 500.', last_error_of: 'poll', last_error_at: new Date() }
    await below.database.db('upstream_streams').where({ transmitter_id: id }).update(error)
    assert.equal((await below.read(id)).stream?.last_error, error.last_error)
    await below.until(id, 'the error is over', ({ last_error }) => last_error === null)
  })

  it('takes 204, and an answer without sets, as nothing new (R-45)', async () => {
    const answers = [{ status: 204 }, { status: 200, body: {} }, { status: 200, body: { sets: {} } }]
    transmitter.react.poll = () => answers.shift()
    const { txn } = await emit()
    await below.taken(txn)
    assert.equal((await below.read(id)).stream?.last_error, null)
  })

  it('does not acknowledge and does not report what it cannot verify now: it comes again', async () => {
    const later = await below.newTransmitter()
    later.react.jwks = () => ({ status: 500 })
    await below.subscribe(later, 'poll')
    await waitUntil('it is polled', () => later.called('poll').length > 0)
    const txn = randomUUID()
    const jti = await later.emit({ set: { txn } })
    await waitUntil('keys were asked for', () => later.called('jwks').length > 0)
    const polls = later.called('poll').length
    await waitUntil('it was polled again', () => later.called('poll').length > polls + 1)
    assert.ok(!later.acked.includes(jti))
    assert.equal(later.refused.size, 0)
    delete later.react.jwks
    await below.taken(txn)
    await waitUntil('it was acknowledged', () => later.acked.includes(jti))
  })

  it('asks for fewer when an answer is larger than 4 MiB', async () => {
    const txn = randomUUID()
    const asked: unknown[] = []
    transmitter.react.poll = ({ body }) => {
      asked.push(body.maxEvents)
      return Number(body.maxEvents) > 10 ? { body: `"${'x'.repeat(5_000_000)}"` } : undefined
    }
    await transmitter.emit({ set: { txn } })
    await below.taken(txn)
    await waitUntil('it asked for few enough', () => asked.some((max) => Number(max) <= 10))
    const { jti, txn: next } = await emit()
    await below.taken(next)
    await waitUntil('it was acknowledged', () => transmitter.acked.includes(jti))
  })

  it('does not keep asking a transmitter that hears no acknowledgement', async () => {
    const jti = randomUUID()
    const set = await transmitter.sign({
      jti,
      sub_id: { format: 'email', email: 'a@b.example' },
      events: { a: {} },
    })
    transmitter.react.poll = () => ({ body: { sets: { [jti]: set } } })
    await waitUntil('it was acknowledged', () =>
      transmitter.called('poll').some((call) => acksOf(call).includes(jti)),
    )
    const before = transmitter.called('poll').length
    const { stream } = await below.read(id)
    assert.equal(stream?.last_error, null)
    await waitUntil('some more polls', () => transmitter.called('poll').length >= before + 3)
    const other = await below.newTransmitter()
    await below.verified(other, 'poll')
    assert.ok(transmitter.called('poll').length < before + 20)
  })

  it('stops while the transmitter is disabled here', async () => {
    await below.hub.call('PATCH', `/v1/transmitters/${id}`, { enabled: false })
    const { jti, txn } = await emit()
    await waitUntil('nobody polls', async () => {
      const before = transmitter.called('poll').length
      const other = await below.newTransmitter()
      await below.verified(other, 'poll')
      return transmitter.called('poll').length === before
    })
    assert.ok(!transmitter.acked.includes(jti))
    await below.hub.call('PATCH', `/v1/transmitters/${id}`, { enabled: true })
    await below.taken(txn)
  })

  it('says what it took when it stops, and asks for nothing with it (R-41)', async () => {
    const second = await startHubBelow()
    const one = await second.newTransmitter()
    await second.verified(one, 'poll')
    const { length } = one.called('poll')
    // The answer that carries the SET is the last one before the stop.
    const txn = randomUUID()
    let handedOut: (() => void) | undefined
    const out = new Promise<void>((resolve) => {
      handedOut = resolve
    })
    const jti = randomUUID()
    const set = await one.sign({
      jti,
      txn,
      sub_id: { format: 'email', email: 'ada@example.com' },
      events: {
        'https://schemas.openid.net/secevent/caep/event-type/session-revoked': { event_timestamp: 1 },
      },
    })
    one.react.poll = ({ body }) => {
      if (body.maxEvents === 0) return undefined
      if (handedOut) {
        handedOut()
        handedOut = undefined
        return { body: { sets: { [jti]: set } } }
      }
      // Held until the hub ends it.
      return new Promise(() => {})
    }
    await out
    await second.taken(txn)
    await waitUntil('the next poll is under way', () => one.called('poll').length > length + 1)
    await second.close()
    const acknowledged = one.called('poll').filter((call) => acksOf(call).includes(jti))
    assert.ok(acknowledged.length >= 1)
    assert.equal(acknowledged.at(-1)?.body.maxEvents, 0)
  })

  it('is done by exactly one process, and by another when that one is killed', async () => {
    const many: ScriptedTransmitter[] = []
    for (let number = 0; number < 6; number += 1) {
      const one = await below.newTransmitter()
      await below.verified(one, 'poll')
      many.push(one)
    }
    const second = await startHub({
      env: {
        DATABASE_URL: below.database.url,
        ISSUER: below.hub.url,
        ROLES: 'poll-upstream',
        FIREBREAK_ADMIN_TOKEN: ADMIN_TOKEN,
      },
    })
    try {
      const owners = async () => {
        const leases = below.database
          .db('leases')
          .where({ kind: 'upstream' })
          .where('expires_at', '>', new Date())
        return new Set((await leases.select('owner')).map(({ owner }) => owner)).size
      }
      await waitUntil('both have a share', async () => (await owners()) === 2)
      // Each process has a token of its own.
      const first = many.map((one) => one.called('poll').length)
      await waitUntil('all are polled on', () =>
        many.every((one, number) => one.called('poll').length > (first[number] ?? 0) + 8),
      )
      for (const one of many) {
        const tokens = one
          .called('poll')
          .slice(-5)
          .map(({ headers }) => headers.authorization)
        assert.equal(new Set(tokens).size, 1)
      }
      assert.ok(
        many.some((one) => one.called('token').length > 1),
        'the second process polls some of them',
      )
    } finally {
      second.signal('SIGKILL')
      await second.ended()
      await second.remove()
    }
    for (const one of many) {
      const txn = randomUUID()
      await one.emit({ set: { txn } })
      await below.taken(txn)
    }
  })
})
