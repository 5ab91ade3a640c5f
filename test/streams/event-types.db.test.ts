import assert from 'node:assert/strict'
import { silentLogger } from '../../src/kernel/logger.js'
import { CAEP, SCIM } from '../../src/secevent/event-types.js'
import { createEventTypeRegistry, type EventTypeRegistry } from '../../src/streams/event-type-registry.js'
import { waitUntil } from '../support/wait.js'
import { createSsfHarness, type SsfHarness, type TestReceiver, UNKNOWN_ID } from './ssf-harness.js'

const TYPE = 'https://example.com/events/badge-lost'
const SCHEMA = { type: 'object', properties: { door: { type: 'string' } }, required: ['door'] }
const RULE = { member: 'state', values: { lost: 'tightens', found: 'loosens' }, otherwise: 'neutral' }

describe('streams: event types that operators register', () => {
  let ssf: SsfHarness
  let a: TestReceiver
  before(async () => {
    ssf = await createSsfHarness()
    a = await ssf.addReceiver('gateway-a')
  })
  after(() => ssf.close())
  afterEach(async () => {
    await ssf.db('event_types').delete()
    await ssf.streams.eventTypesChanged()
  })

  const add = (body: object = {}, token = 'operator') =>
    ssf.call('post', '/v1/event-types', token, { type: TYPE, effect: 'tightens', ...body })
  const stream = async (id: string) => (await ssf.call('get', `/ssf/streams?stream_id=${id}`, a.token)).body
  const auditOf = async (id: string) =>
    (await ssf
      .db('audit_log')
      .where({ target: `event-type:${id}` })
      .orderBy('at')
      .select('action', 'actor')) as object[]

  it('registers one with its class and schema, changes it and removes it, with an audit row each', async () => {
    const added = await add({ schema: SCHEMA, description: 'a badge was lost' })
    assert.equal(added.status, 201, added.text)
    const { id, created_at, updated_at, ...rest } = added.body
    assert.deepEqual(rest, {
      type: TYPE,
      family: 'custom',
      effect: 'tightens',
      lanes: ['urgent'],
      description: 'a badge was lost',
      schema: SCHEMA,
    })
    assert.match(created_at + updated_at, /Z.*Z$/)
    const changed = await ssf.call('patch', `/v1/event-types/${id}`, 'operator', {
      effect: RULE,
      schema: null,
    })
    assert.equal(changed.status, 200, changed.text)
    assert.deepEqual(changed.body.effect, RULE)
    assert.equal(changed.body.schema, null)
    assert.equal(changed.body.description, 'a badge was lost')
    assert.deepEqual((await ssf.call('get', `/v1/event-types/${id}`, 'viewer')).body, changed.body)
    assert.equal((await ssf.call('delete', `/v1/event-types/${id}`, 'operator')).status, 204)
    assert.equal((await ssf.call('get', `/v1/event-types/${id}`, 'viewer')).status, 404)
    assert.deepEqual(await auditOf(id), [
      { action: 'event_type.created', actor: 'operator:operator' },
      { action: 'event_type.changed', actor: 'operator:operator' },
      { action: 'event_type.removed', actor: 'operator:operator' },
    ])
  })

  it('lists the built-in ones too, in pages and by name', async () => {
    await add()
    const seen: { type: string; effect: unknown; lanes: string[]; id: string | null }[] = []
    let cursor: string | null = ''
    while (cursor !== null) {
      const query: string = cursor === '' ? '' : `&cursor=${cursor}`
      const page = await ssf.call('get', `/v1/event-types?limit=7${query}`, 'viewer')
      assert.equal(page.status, 200, page.text)
      assert.ok(page.body.items.length <= 7)
      seen.push(...page.body.items)
      cursor = page.body.next as string | null
    }
    assert.equal(seen.length, 37)
    assert.deepEqual(
      seen.map(({ type }) => type),
      seen.map(({ type }) => type).sort(),
    )
    const revoked = seen.find(({ type }) => type === CAEP.sessionRevoked)
    assert.deepEqual([revoked?.effect, revoked?.lanes, revoked?.id], ['tightens', ['urgent'], null])
    const put = seen.find(({ type }) => type === SCIM.putFull)
    assert.deepEqual(put?.lanes, ['urgent', 'routine'])
    const one = await ssf.call('get', `/v1/event-types?type=${encodeURIComponent(TYPE)}`, 'viewer')
    assert.deepEqual(
      one.body.items.map((row: { type: string }) => row.type),
      [TYPE],
    )
  })

  const BAD: [title: string, body: object, status: number, says: RegExp][] = [
    ['no URI', { type: 'badge-lost' }, 400, /absolute URI/],
    ['a URI with a space', { type: 'https://example.com/a b' }, 400, /absolute URI/],
    ['a URI with a control character', { type: 'https://example.com/\u0007' }, 400, /absolute URI/],
    ['U+0000', { type: 'https://example.com/\u0000' }, 400, /U\+0000/],
    ['a long URI', { type: `https://example.com/${'x'.repeat(500)}` }, 400, /at most 500/],
    ['no text', { type: 7 }, 400, /text/],
    [
      'a name of OpenID',
      { type: 'https://schemas.openid.net/secevent/wise/event-type/x' },
      400,
      /others give/,
    ],
    ['the same spelled otherwise', { type: 'HTTPS://Schemas.OpenID.net:443/x' }, 400, /others give/],
    ['a name of SCIM', { type: 'urn:ietf:params:SCIM:event:prov:other' }, 400, /others give/],
    ['a built-in type', { type: CAEP.sessionRevoked }, 409, /built in/],
    ['an effect that is none', { effect: 'revokes' }, 400, /tightens, loosens, neutral/],
    ['no effect', { effect: null }, 400, /effect/],
    ['a rule without otherwise', { effect: { member: 'a', values: { b: 'neutral' } } }, 400, /otherwise/],
    ['a rule without values', { effect: { ...RULE, values: {} } }, 400, /values/],
    ['a rule with a wrong effect', { effect: { ...RULE, values: { a: 'shuts' } } }, 400, /effect must/],
    ['a rule with more in it', { effect: { ...RULE, lane: 'control' } }, 400, /effect must/],
    ['a schema that is a list', { schema: [] }, 400, /schema/],
    [
      'a schema that can be slow',
      { schema: { type: 'object', patternProperties: { '(a+)+$': {} } } },
      400,
      /patternProperties/,
    ],
    ['an unknown member', { lane: 'control' }, 400, /lane/],
    ['an empty description', { description: '' }, 400, /description/],
  ]
  for (const [title, body, status, says] of BAD) {
    it(`refuses ${title}, and keeps nothing of it`, async () => {
      const answer = await add(body)
      assert.equal(answer.status, status, answer.text)
      assert.match(answer.body.message, says)
      assert.equal(await ssf.db('event_types').first(), undefined)
    })
  }

  it('takes a rule, a name and a description as long as they may be, and nothing longer', async () => {
    const values = (count: number, length = 200) =>
      Object.fromEntries(
        Array.from({ length: count }, (_, index) => [String(index).padEnd(length, 'x'), 'tightens']),
      )
    const rule = (change: object) => ({ effect: { ...RULE, ...change } })
    const longest = { member: 'm'.repeat(100), values: values(50) }
    for (const [wrong, what] of [
      [rule({ values: values(51, 3) }), '51 values'],
      [rule({ values: values(1, 201) }), 'a value of 201 characters'],
      [rule({ member: 'm'.repeat(101) }), 'a member of 101 characters'],
      [rule({ member: '' }), 'an empty member'],
      [rule({ member: 7 }), 'a member that is no text'],
      [rule({ values: undefined }), 'no values'],
      [rule({ otherwise: undefined }), 'no otherwise'],
      [{ description: 'x'.repeat(501) }, 'a long description'],
    ] as const) {
      const answer = await add(wrong)
      assert.equal(answer.status, 400, what)
    }
    const taken = await add({ ...rule(longest), description: 'x'.repeat(500) })
    assert.equal(taken.status, 201, taken.text)
    assert.deepEqual(taken.body.effect, { ...RULE, ...longest })
    const again = await ssf.call('patch', `/v1/event-types/${taken.body.id}`, 'operator', {
      description: null,
    })
    assert.deepEqual([again.body.description, again.body.effect], [null, taken.body.effect])
  })

  it('are 500 at most, and one less makes room for one', async () => {
    await ssf.db('event_types').insert(
      Array.from({ length: 499 }, (_, index) => ({
        id: crypto.randomUUID(),
        type: `https://example.com/events/${index}`,
        effect: JSON.stringify('neutral'),
      })),
    )
    const last = await add()
    assert.equal(last.status, 201, last.text)
    const refused = await add({ type: `${TYPE}-2` })
    assert.deepEqual(
      [refused.status, refused.body.message],
      [409, 'There are 500 registered event types; remove one first.'],
    )
    await ssf.call('delete', `/v1/event-types/${last.body.id}`, 'operator')
    assert.equal((await add({ type: `${TYPE}-2` })).status, 201)
  })

  it('says in the audit log what a type was and became', async () => {
    const { id } = (await add({ schema: SCHEMA })).body
    await ssf.call('patch', `/v1/event-types/${id}`, 'operator', { effect: 'neutral', schema: null })
    await ssf.call('delete', `/v1/event-types/${id}`, 'operator')
    const rows = await ssf
      .db('audit_log')
      .where({ target: `event-type:${id}` })
      .orderBy('at')
      .select('detail')
    const before = { type: TYPE, effect: 'tightens', has_schema: true }
    const after = { type: TYPE, effect: 'neutral', has_schema: false }
    assert.deepEqual(
      rows.map(({ detail }) => detail),
      [before, { before, after }, after],
    )
  })

  it('refuses a type twice, bad changes, unknown ids, and who may not', async () => {
    const { id } = (await add()).body
    assert.equal((await add()).status, 409)
    for (const change of [{}, { type: TYPE }, { effect: 'x' }, { schema: { type: 'array' } }]) {
      assert.equal((await ssf.call('patch', `/v1/event-types/${id}`, 'operator', change)).status, 400)
    }
    for (const unknown of [UNKNOWN_ID, 'x', encodeURIComponent(TYPE)]) {
      assert.equal(
        (await ssf.call('patch', `/v1/event-types/${unknown}`, 'operator', { effect: 'neutral' })).status,
        404,
      )
      assert.equal((await ssf.call('delete', `/v1/event-types/${unknown}`, 'operator')).status, 404)
    }
    assert.equal((await add({}, 'viewer')).status, 403)
    assert.equal((await ssf.call('delete', `/v1/event-types/${id}`, 'viewer')).status, 403)
    assert.equal((await ssf.call('get', '/v1/event-types', a.token)).status, 401)
    assert.equal((await ssf.call('get', '/v1/event-types?colour=red', 'viewer')).status, 400)
  })

  it('lets streams have a type as soon as it is registered, and no longer when it is removed', async () => {
    const waiting = await ssf.createStream(a, { events_requested: [TYPE, CAEP.sessionRevoked] })
    const other = await ssf.createStream(a, { events_requested: [CAEP.sessionRevoked] })
    assert.deepEqual((await stream(waiting)).events_delivered, [CAEP.sessionRevoked])
    ssf.observer.changed.length = 0
    const { id } = (await add()).body
    assert.deepEqual((await stream(waiting)).events_delivered, [TYPE, CAEP.sessionRevoked])
    assert.ok((await stream(other)).events_supported.includes(TYPE))
    assert.deepEqual(ssf.observer.changed, [waiting], 'whoever sends is told, about this stream alone')
    const late = await ssf.createStream(a, { events_requested: [TYPE] })
    assert.deepEqual((await stream(late)).events_delivered, [TYPE])
    await ssf.call('delete', `/v1/event-types/${id}`, 'operator')
    assert.deepEqual((await stream(waiting)).events_delivered, [CAEP.sessionRevoked])
    assert.deepEqual((await stream(late)).events_delivered, [])
    assert.ok(!(await stream(other)).events_supported.includes(TYPE))
  })

  it('keeps a registered type from receivers that are not granted it', async () => {
    await add()
    const b = await ssf.addReceiver('gateway-b', { eventTypes: [CAEP.sessionRevoked] })
    const id = await ssf.createStream(b, { events_requested: [TYPE, CAEP.sessionRevoked] })
    const { body } = await ssf.call('get', `/ssf/streams?stream_id=${id}`, b.token)
    assert.deepEqual(body.events_supported, [CAEP.sessionRevoked])
    assert.deepEqual(body.events_delivered, [CAEP.sessionRevoked])
  })

  it('gives a type to a stream that is saved while the type is being registered', async () => {
    const id = await ssf.createStream(a, { events_requested: [] })
    const holder = await ssf.db.transaction()
    // A stream edit that has read the types and is not committed yet.
    await holder.raw('select pg_advisory_xact_lock_shared(?)', [0x46426574])
    const adding = Promise.resolve(add())
    await waitUntil('the registration to wait', async () => {
      const [row] = (
        await ssf.db.raw("select count(*)::int n from pg_locks where locktype = 'advisory' and not granted")
      ).rows
      return row.n > 0
    })
    await holder('streams')
      .where({ stream_id: id })
      .update({ events_requested: [TYPE] })
    await holder.commit()
    assert.equal((await adding).status, 201)
    assert.deepEqual((await stream(id)).events_delivered, [TYPE])
  })
})

describe('streams: the registry of event types', () => {
  let ssf: SsfHarness
  let registry: EventTypeRegistry
  let changes = 0
  before(async () => {
    ssf = await createSsfHarness()
    registry = createEventTypeRegistry({
      db: ssf.db,
      logger: silentLogger,
      onChanged: async () => {
        changes += 1
      },
      refreshEveryMs: 20,
    })
    await registry.start()
  })
  after(async () => {
    await registry.stop()
    await ssf.close()
  })

  const insert = (type: string, effect: unknown) =>
    ssf.db('event_types').insert({ id: crypto.randomUUID(), type, effect: JSON.stringify(effect) })

  it('follows the table without a word, and is asked for nothing that did not change', async () => {
    assert.equal(registry.get(TYPE), undefined)
    await insert(TYPE, RULE)
    await waitUntil('the type', () => registry.get(TYPE))
    assert.deepEqual(registry.get(TYPE)?.effect, RULE)
    const known = registry.get(TYPE)
    const seen = changes
    await registry.refresh()
    assert.equal(registry.get(TYPE), known, 'the same object, so its schema stays compiled')
    assert.equal(changes, seen)
    await ssf.db('event_types').delete()
    await waitUntil('the type to go', () => registry.get(TYPE) === undefined)
  })

  it('keeps what it knows while the table cannot be read, and says so', async () => {
    await insert(TYPE, 'tightens')
    await registry.refresh()
    await ssf.db.raw('alter table event_types rename to hidden')
    try {
      await waitUntil('a reason', () => registry.health().reason)
      assert.equal(registry.health().ok, true)
      assert.equal(registry.get(TYPE)?.effect, 'tightens')
    } finally {
      await ssf.db.raw('alter table hidden rename to event_types')
    }
    await waitUntil('no reason', () => registry.health().reason === undefined)
  })

  it('asks again in its next round when what follows a change failed', async () => {
    const warnings: string[] = []
    let fails = 1
    const told: number[] = []
    const other = createEventTypeRegistry({
      db: ssf.db,
      logger: { ...silentLogger, warn: (event) => void warnings.push(event) },
      onChanged: async () => {
        told.push(fails)
        if (fails-- > 0) throw new Error('streams could not follow')
      },
      refreshEveryMs: 60_000,
    })
    await other.refresh()
    assert.deepEqual([told, warnings], [[1], ['event_types.unsettled']])
    await other.refresh()
    assert.deepEqual([told, warnings], [[1, 0], ['event_types.unsettled']])
    await other.refresh()
    assert.equal(told.length, 2)
  })

  it('does not start without having read the table', async () => {
    const blind = createEventTypeRegistry({
      db: ssf.db,
      logger: silentLogger,
      onChanged: async () => {},
    })
    await ssf.db.raw('alter table event_types rename to hidden')
    try {
      await assert.rejects(blind.start(), /event_types/)
    } finally {
      await ssf.db.raw('alter table hidden rename to event_types')
    }
  })
})
