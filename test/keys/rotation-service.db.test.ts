import assert from 'node:assert/strict'
import { createAuditLog } from '../../src/audit/audit-log.js'
import { createRecordCodec, type LogKeys } from '../../src/eventlog/record-codec.js'
import { createClock } from '../../src/kernel/clock.js'
import { Conflict, NotFound, Unavailable } from '../../src/kernel/errors.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { makeKeyMaterial } from '../../src/keys/key-material.js'
import { createKeyService } from '../../src/keys/key-service.js'
import { createRotationService, type RotationServiceOptions } from '../../src/keys/rotation-service.js'
import { clock, ISSUER, makeEvent } from '../eventlog/log-fixtures.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'

const LEAD_MS = 3_600_000
const GRACE_MS = 7_200_000
const ACTOR = 'operator:ada'

describe('keys: rotation', () => {
  let test: TestDatabase
  beforeEach(async () => {
    test = await createTestDatabase()
  })
  afterEach(() => test.close())

  /** A process of its own, whose clocks a test may put forward. */
  async function startProcess(options: Partial<RotationServiceOptions> & { leadMs?: number } = {}) {
    const real = createClock()
    const ahead = { ms: 0, monotonicMs: 0 }
    const clock = {
      now: () => real.now() + ahead.ms,
      monotonicMs: () => real.monotonicMs() + ahead.monotonicMs,
    }
    const leadMs = options.leadMs ?? LEAD_MS
    const keys = await createKeyService({ db: test.db, clock, leadMs, logger: silentLogger })
    const rotation = createRotationService({
      db: test.db,
      ring: keys.ring,
      audit: createAuditLog(),
      leadMs,
      graceMs: { set: GRACE_MS, log: GRACE_MS },
      fromFiles: [],
      isOutstanding: async () => false,
      changed: async () => void (await keys.refresh()),
      ...options,
    })
    return { keys, rotation, ahead }
  }

  const kidsOf = (jwks: { keys: object[] }) => (jwks.keys as { kid: string }[]).map((key) => key.kid)
  /** As if that much time had gone by in the database. */
  const pass = (ms: number) =>
    test.db.raw(
      `update signing_keys set active_from = active_from - gone, created_at = created_at - gone, retired_at = retired_at - gone
       from (select ? * interval '1 ms' gone) time`,
      [ms],
    )
  const audited = async () =>
    (await test.db('audit_log').select('actor', 'action', 'target').orderBy('at')).map(
      (row) => `${row.actor} ${row.action} ${row.target}`,
    )

  for (const [use, alg] of [
    ['set', 'RS256'],
    ['set', 'ES256'],
    ['log', 'ES256'],
  ] as const) {
    it(`publishes a new ${use} key for ${alg} before it signs, and the old one after`, async () => {
      const { keys, rotation, ahead } = await startProcess()
      const signing = () => (use === 'set' ? keys.setSigner(alg).kid : keys.logSigningKey().kid)
      const published = () => kidsOf(use === 'set' ? keys.setJwks() : keys.logJwks())
      const old = signing()
      const [next] = await rotation.rotate({ use, alg }, ACTOR)
      assert.ok(next)
      assert.equal(next.state, 'next')
      assert.equal(signing(), old)
      assert.ok(published().includes(next.kid))
      ahead.ms = LEAD_MS - 5_000
      assert.equal(signing(), old)
      ahead.ms = LEAD_MS + 5_000
      assert.equal(signing(), next.kid)
      assert.ok(published().includes(old))
      assert.deepEqual(await audited(), [`${ACTOR} key.rotated key:${next.kid}`])
    })
  }

  it('leaves records of the log readable that the key before signed, as long as they are believed', async () => {
    const { keys, rotation, ahead } = await startProcess()
    const other = await startProcess()
    const codecOf = (keys: LogKeys) => createRecordCodec({ keys, issuer: ISSUER, clock, maxAgeMs: GRACE_MS })
    const event = makeEvent()
    const { record } = codecOf(keys).encode(event)
    const decode = () => codecOf(other.keys).decode(record, event)
    await rotation.rotate({ use: 'log' }, ACTOR)
    ahead.ms = LEAD_MS + 5_000
    const after = codecOf(keys).encode(makeEvent())
    await pass(LEAD_MS + GRACE_MS - 60_000)
    await rotation.keepUp()
    await other.keys.refresh()
    assert.deepEqual(decode(), event)
    assert.ok(codecOf(other.keys).decode(after.record, event))
    await pass(120_000)
    await rotation.keepUp()
    await other.keys.refresh()
    assert.throws(decode, { reason: 'not_signed_by_hub' })
  })

  it('changes over in a process that only read the keys, without another read', async () => {
    const one = await startProcess()
    const other = await startProcess()
    const [next] = await one.rotation.rotate({ use: 'set', alg: 'ES256' }, ACTOR)
    assert.equal(await other.keys.refresh(), true)
    assert.equal(await other.keys.refresh(), false)
    other.ahead.ms = LEAD_MS + 5_000
    assert.equal(other.keys.setSigner('ES256').kid, next?.kid)
    assert.ok((await other.keys.setSigner('ES256').sign({})).length > 0)
  })

  it('answers no keys that were read before a key might have been made that signs now', async () => {
    const { keys, ahead } = await startProcess()
    ahead.monotonicMs = LEAD_MS - 61_000
    assert.equal(keys.jwksMaxAgeS, 60)
    assert.equal(keys.setJwks().keys.length, 2)
    ahead.monotonicMs = LEAD_MS - 59_000
    assert.throws(() => keys.setJwks(), Unavailable)
    await keys.refresh()
    assert.equal(keys.setJwks().keys.length, 2)
  })

  it('lets receivers cache the keys for half the lead at most', async () => {
    assert.equal((await startProcess({ leadMs: 10_000 })).keys.jwksMaxAgeS, 5)
  })

  it('rotates every algorithm unless told which, and refuses a second one that would wait', async () => {
    const { rotation } = await startProcess()
    const made = await rotation.rotate({ use: 'set' }, ACTOR)
    assert.deepEqual(made.map((key) => key.alg).sort(), ['ES256', 'RS256'])
    await assert.rejects(rotation.rotate({ use: 'set', alg: 'RS256' }, ACTOR), Conflict)
    await rotation.rotate({ use: 'log' }, ACTOR)
    const [now] = await rotation.rotate({ use: 'set', alg: 'RS256', now: true }, ACTOR)
    assert.ok(now && now.activeFrom.getTime() < Date.now() + 60_000)
    assert.equal((await rotation.list()).length, 7)
  })

  it('shows states and times', async () => {
    const { rotation } = await startProcess()
    const [first] = await rotation.rotate({ use: 'log' }, ACTOR)
    const stateOf = async () =>
      (await rotation.list()).filter((key) => key.use === 'log').map(({ state }) => state)
    assert.deepEqual(await stateOf(), ['next', 'active'])
    await pass(LEAD_MS)
    assert.deepEqual(await stateOf(), ['active', 'retiring'])
    const [active, retiring] = (await rotation.list()).filter((key) => key.use === 'log')
    assert.equal(active?.kid, first?.kid)
    assert.equal(active?.retiresAt, null)
    assert.equal(retiring?.retiresAt?.getTime(), (active?.activeFrom.getTime() ?? 0) + GRACE_MS)
  })

  it('retires a replaced key only when its time is over and nothing signed with it is open', async () => {
    let open = true
    const asked: number[] = []
    const { keys, rotation } = await startProcess({
      async isOutstanding(beforeMs) {
        asked.push(beforeMs)
        return open
      },
    })
    const old = keys.setSigner('RS256').kid
    await rotation.rotate({ use: 'set', alg: 'RS256' }, ACTOR)
    await pass(LEAD_MS + GRACE_MS - 60_000)
    assert.equal(await rotation.keepUp(), false)
    await pass(120_000)
    assert.equal(await rotation.keepUp(), false)
    const replacedAt = (await rotation.list()).find((key) => key.state === 'active' && key.alg === 'RS256')
    assert.deepEqual(asked, [replacedAt?.activeFrom.getTime()])
    open = false
    assert.equal(await rotation.keepUp(), true)
    assert.equal(await rotation.keepUp(), false)
    assert.ok(!kidsOf(keys.setJwks()).includes(old))
    const row = await test.db('signing_keys').where({ kid: old }).first('private_wrapped')
    assert.equal(row.private_wrapped.length, 0)
    assert.equal((await audited()).at(-1), `hub key.retired key:${old}`)
  })

  it('retires by hand what signs no longer, and nothing else', async () => {
    const { keys, rotation } = await startProcess({ isOutstanding: async () => true })
    const old = keys.setSigner('RS256').kid
    await assert.rejects(rotation.retire(old, ACTOR), Conflict)
    const [next] = await rotation.rotate({ use: 'set', alg: 'RS256' }, ACTOR)
    await assert.rejects(rotation.retire('A'.repeat(43), ACTOR), NotFound)
    await pass(LEAD_MS - 20_000)
    await assert.rejects(rotation.retire(next?.kid ?? '', ACTOR), /too soon to stop it everywhere/)
    await pass(20_000)
    assert.equal((await rotation.retire(old, ACTOR)).state, 'retired')
    assert.equal((await rotation.retire(old, ACTOR)).state, 'retired')
    assert.deepEqual((await audited()).slice(1), [`${ACTOR} key.retired key:${old}`])
  })

  it('retires a key that waits for good, and the one that signs goes on as if it had never been', async () => {
    const rotateAfterMs = 86_400_000
    const one = await startProcess({ rotateAfterMs })
    const other = await startProcess()
    const signing = one.keys.setSigner('RS256').kid
    const [next] = await one.rotation.rotate({ use: 'set', alg: 'RS256' }, ACTOR)
    const kid = next?.kid as string
    await other.keys.refresh()
    assert.equal((await one.rotation.retire(kid, ACTOR)).state, 'retired')
    await other.keys.refresh()
    for (const { keys, ahead } of [one, other]) {
      assert.ok(!kidsOf(keys.setJwks()).includes(kid))
      ahead.ms = LEAD_MS + 5_000
      assert.equal(keys.setSigner('RS256').kid, signing)
    }
    const row = await test.db('signing_keys').where({ kid }).first('private_wrapped')
    assert.equal(row.private_wrapped.length, 0)
    const stays = (await one.rotation.list()).find((key) => key.kid === signing)
    assert.deepEqual([stays?.state, stays?.retiresAt], ['active', null])
    await pass(rotateAfterMs + 1_000)
    assert.equal(await one.rotation.keepUp(), true)
    assert.equal((await one.rotation.list()).filter(({ state }) => state === 'next').length, 3)
  })

  it('at once retires the keys that wait, unless they sign before the new one does', async () => {
    const { rotation } = await startProcess()
    const asked = { use: 'set', alg: 'ES256' } as const
    const [far] = await rotation.rotate(asked, ACTOR)
    const [first] = await rotation.rotate({ ...asked, now: true }, ACTOR)
    const [second] = await rotation.rotate({ ...asked, now: true }, ACTOR)
    const stateOf = async (kid = '') => (await rotation.list()).find((key) => key.kid === kid)?.state
    const states = () => Promise.all([far, first, second].map((key) => stateOf(key?.kid)))
    assert.deepEqual(await states(), ['retired', 'next', 'next'])
    await pass(LEAD_MS)
    assert.deepEqual(await states(), ['retired', 'retiring', 'active'])
    assert.deepEqual(
      (await audited()).toSorted(),
      [
        `${ACTOR} key.retired key:${far?.kid}`,
        ...[far, first, second].map((key) => `${ACTOR} key.rotated key:${key?.kid}`),
      ].toSorted(),
    )
  })

  it('says of a key of the ring that it stays', async () => {
    const { rotation, keys } = await startProcess()
    const [ring] = keys.ring.keys()
    await assert.rejects(rotation.retire(ring?.id ?? '', ACTOR), /key of the ring/)
  })

  it('replaces a key past its age by itself, once, however many processes ask', async () => {
    const rotateAfterMs = 86_400_000
    const processes = await Promise.all([1, 2, 3].map(() => startProcess({ rotateAfterMs })))
    const keepUp = () => Promise.all(processes.map(({ rotation }) => rotation.keepUp()))
    assert.deepEqual(await keepUp(), [false, false, false])
    await pass(rotateAfterMs + 1_000)
    await keepUp()
    await keepUp()
    const states = (await processes[0]?.rotation.list())?.map(({ state }) => state).sort()
    assert.deepEqual(states, ['active', 'active', 'active', 'next', 'next', 'next'])
  })

  it('takes one rotation at a time, whichever process is asked', async () => {
    const processes = await Promise.all([1, 2, 3].map(() => startProcess()))
    const results = await Promise.allSettled(
      processes.map(({ rotation }) => rotation.rotate({ use: 'log' }, ACTOR)),
    )
    assert.deepEqual(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected', 'rejected'])
  })

  describe('of the ring', () => {
    const sealedBy = (sealed: Buffer) => sealed.subarray(1, 5).toString('hex')

    it('seals by a new key once every process has it, and then the hub’s keys again', async () => {
      const one = await startProcess()
      const other = await startProcess()
      await one.keys.contentCipher('2026-10-01')
      const before = one.keys.seal('secret', 'place')
      const key = await one.rotation.rotateRing(ACTOR)
      await assert.rejects(one.rotation.rotateRing(ACTOR), Conflict)
      assert.equal(sealedBy(one.keys.seal('a', 'place')), sealedBy(before))
      await other.keys.refresh()
      one.ahead.ms = 120_000
      const after = one.keys.seal('new', 'place')
      assert.equal(sealedBy(after), key.id)
      for (const { keys } of [one, other, await startProcess()]) {
        assert.equal(keys.open(after, 'place').toString(), 'new')
        assert.equal(keys.open(before, 'place').toString(), 'secret')
      }
      await one.rotation.keepUp()
      const rows = [
        ...(await test.db('signing_keys').select('private_wrapped as sealed')),
        ...(await test.db('data_keys').select('wrapped as sealed')),
      ] as { sealed: Buffer }[]
      assert.equal(rows.length, 5)
      assert.deepEqual(new Set(rows.map(({ sealed }) => sealedBy(sealed))), new Set([key.id]))
      const again = await startProcess()
      assert.equal(again.keys.setSigner('ES256').kid, one.keys.setSigner('ES256').kid)
      assert.ok((await again.keys.setSigner('ES256').sign({})).length > 0)
      const cipher = await again.keys.contentCipher('2026-10-01')
      assert.equal(
        cipher.open((await one.keys.contentCipher('2026-10-01')).seal(Buffer.from('b'))).toString(),
        'b',
      )
      assert.deepEqual(await audited(), [`${ACTOR} key_ring.rotated ring-key:${key.id}`])
    })

    it('takes one at a time, whichever process is asked, and leaves alone what is sealed by the newest', async () => {
      const processes = await Promise.all([1, 2, 3].map(() => startProcess()))
      const results = await Promise.allSettled(processes.map(({ rotation }) => rotation.rotateRing(ACTOR)))
      assert.deepEqual(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected', 'rejected'])
      for (const { ahead, keys } of processes) {
        ahead.ms = 120_000
        await keys.refresh()
      }
      await Promise.all(processes.map(({ rotation }) => rotation.keepUp()))
      const sealed = await test.db('signing_keys').select('private_wrapped').orderBy('kid')
      await Promise.all(processes.map(({ rotation }) => rotation.keepUp()))
      assert.deepEqual(await test.db('signing_keys').select('private_wrapped').orderBy('kid'), sealed)
    })
  })

  describe('of keys from files', () => {
    it('signs with such a key from the first start on', async () => {
      const material = await makeKeyMaterial('RS256')
      const clock = createClock()
      const options = { db: test.db, clock, leadMs: LEAD_MS, logger: silentLogger }
      const keys = await createKeyService({ ...options, given: [material] })
      assert.equal(keys.setSigner('RS256').kid, material.kid)
      assert.equal((await createKeyService(options)).setSigner('RS256').kid, material.kid)
    })

    it('lets a replaced file sign at once when asked, and not the one that waited before it', async () => {
      const { keys, rotation, ahead } = await startProcess({ fromFiles: ['RS256'] })
      const atOnce = { use: 'set', alg: 'RS256', now: true } as const
      await assert.rejects(rotation.rotate(atOnce, ACTOR), /replace that file/)
      const [leaked, material] = await Promise.all([makeKeyMaterial('RS256'), makeKeyMaterial('RS256')])
      await rotation.bringIn(leaked)
      await rotation.bringIn(material)
      const [hastened] = await rotation.rotate(atOnce, ACTOR)
      assert.deepEqual([hastened?.kid, hastened?.state], [material.kid, 'next'])
      const again = await rotation.rotate(atOnce, ACTOR)
      assert.equal(again[0]?.activeFrom.getTime(), hastened?.activeFrom.getTime())
      ahead.ms = 60_000
      assert.equal(keys.setSigner('RS256').kid, material.kid)
      assert.ok(!kidsOf(keys.setJwks()).includes(leaked.kid))
      await assert.rejects(rotation.bringIn(leaked), /does not come back/)
      assert.equal((await rotation.rotate({ use: 'set', now: true }, ACTOR)).length, 2)
      assert.deepEqual((await audited()).slice(0, 4), [
        `hub key.imported key:${leaked.kid}`,
        `hub key.imported key:${material.kid}`,
        `${ACTOR} key.rotated key:${material.kid}`,
        `${ACTOR} key.retired key:${leaked.kid}`,
      ])
    })

    it('takes a replaced file as a rotation, and no key twice', async () => {
      const { keys, rotation, ahead } = await startProcess({ fromFiles: ['RS256'] })
      const old = keys.setSigner('RS256').kid
      const [material, third] = await Promise.all([makeKeyMaterial('RS256'), makeKeyMaterial('RS256')])
      await Promise.all([rotation.bringIn(material), rotation.bringIn(material)])
      assert.equal(keys.setSigner('RS256').kid, old)
      assert.ok(kidsOf(keys.setJwks()).includes(material.kid))
      ahead.ms = LEAD_MS + 5_000
      assert.equal(keys.setSigner('RS256').kid, material.kid)
      await rotation.bringIn(third)
      await pass(LEAD_MS)
      await assert.rejects(rotation.bringIn(material), /replaced before/)
      await assert.rejects(rotation.rotate({ use: 'set' }, ACTOR), /SIGNING_KEY_FILES/)
      await assert.rejects(rotation.rotate({ use: 'set' }, ACTOR), /--alg ES256/)
      assert.equal((await rotation.rotate({ use: 'set', alg: 'ES256' }, ACTOR)).length, 1)
      assert.deepEqual(
        (await audited()).slice(0, 2),
        [material, third].map(({ kid }) => `hub key.imported key:${kid}`),
      )
    })
  })
})
