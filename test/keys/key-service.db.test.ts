import assert from 'node:assert/strict'
import { createPublicKey, type JsonWebKey, randomBytes, verify } from 'node:crypto'
import { createAuditLog } from '../../src/audit/audit-log.js'
import { createClock } from '../../src/kernel/clock.js'
import { Conflict, StartupError } from '../../src/kernel/errors.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { SealBroken } from '../../src/keys/aead.js'
import { eraseContentKeys } from '../../src/keys/data-keys.js'
import { makeKeyMaterial } from '../../src/keys/key-material.js'
import { createKeyService } from '../../src/keys/key-service.js'
import { insertSigningKey, resealSigningKeys } from '../../src/keys/signing-key-repository.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'

const EVENT = '01970000-0000-7000-8000-000000000000'

describe('keys: key service', () => {
  let test: TestDatabase
  beforeEach(async () => {
    test = await createTestDatabase()
  })
  afterEach(() => test.close())
  const options = () => ({ db: test.db, clock: createClock(), leadMs: 3_600_000, logger: silentLogger })
  const create = (masterKey?: Buffer) => createKeyService({ ...options(), ...(masterKey && { masterKey }) })

  it('makes set keys of both algorithms and a log key that is in no set JWKS', async () => {
    const keys = await create()
    const setKeys = keys.setJwks().keys as (JsonWebKey & { kid: string; alg: string; use: string })[]
    assert.deepEqual(setKeys.map((key) => key.alg).sort(), ['ES256', 'RS256'])
    assert.ok(setKeys.every((key) => key.use === 'sig' && !('d' in key)))
    assert.deepEqual([...keys.logPublicKeys().keys()], [keys.logSigningKey().kid])
    assert.ok(setKeys.every((key) => key.kid !== keys.logSigningKey().kid))
    assert.equal(keys.logJwks().keys.length, 1)
  })

  it('signs so that the published key verifies, also after a restart', async () => {
    const first = await create()
    const second = await create()
    for (const alg of ['RS256', 'ES256'] as const) {
      const jws = await first.setSigner(alg).sign({ jti: '1' })
      const jwk = (second.setJwks().keys as (JsonWebKey & { kid: string })[]).find(
        (key) => key.kid === second.setSigner(alg).kid,
      )
      const [header, body, signature] = jws.split('.') as [string, string, string]
      const key = {
        key: createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' }),
        dsaEncoding: 'ieee-p1363' as const,
      }
      assert.ok(
        verify('sha256', Buffer.from(`${header}.${body}`), key, Buffer.from(signature, 'base64url')),
        alg,
      )
    }
  })

  it('gives two processes that start at the same moment the same keys', async () => {
    const services = await Promise.all([create(), create(), create()])
    assert.equal(new Set(services.map((keys) => keys.setSigner('RS256').kid)).size, 1)
    assert.equal(new Set(services.map((keys) => keys.jtis.mint(EVENT, 'receiver'))).size, 1)
    const ciphers = await Promise.all(services.map((keys) => keys.contentCipher('2026-11-22')))
    const sealed = ciphers[0]?.seal(Buffer.from('a')) as Buffer
    for (const cipher of ciphers) assert.equal(cipher.open(sealed).toString(), 'a')
    assert.equal((await test.db('signing_keys').select()).length, 3)
    assert.equal((await test.db('key_ring').select()).length, 1)
  })

  it('refuses a wrong, a missing and a malformed master key with a clear error', async () => {
    const masterKey = randomBytes(32)
    assert.equal((await create(masterKey)).protectedByMasterKey, true)
    const refused = (message: RegExp) => (error: unknown) =>
      error instanceof StartupError && message.test(error.message)
    await assert.rejects(create(randomBytes(32)), refused(/not the key that sealed/))
    await assert.rejects(create(), refused(/set FIREBREAK_MASTER_KEY/))
    await assert.rejects(create(randomBytes(16)), refused(/32 bytes/))
    await create(masterKey)
  })

  it('warns without a master key, and seals the ring once one is set', async () => {
    const open = await create()
    assert.match(open.warning ?? '', /FIREBREAK_MASTER_KEY is not set/)
    const sealed = open.seal('secret', 'receiver 1')
    const before = (await test.db('key_ring').first('secret')) as { secret: Buffer }
    const keys = await create(randomBytes(32))
    const row = (await test.db('key_ring').first('secret')) as { secret: Buffer }
    assert.equal(row.secret.includes(before.secret), false)
    assert.equal(keys.open(sealed, 'receiver 1').toString(), 'secret')
    assert.equal(keys.warning, undefined)
    assert.equal(keys.setSigner('ES256').kid, open.setSigner('ES256').kid)
  })

  it('opens a ring that the previous master key sealed, and seals it under the current one', async () => {
    const [old, next] = [randomBytes(32), randomBytes(32)]
    const running = await create(old)
    const sealed = running.seal('secret', 'receiver 1')
    const rotate = (masterKey: Buffer, previousMasterKey: Buffer) =>
      createKeyService({
        ...options(),
        masterKey,
        previousMasterKey,
        audit: createAuditLog(),
      })
    const both = await Promise.all([rotate(next, old), rotate(next, old), rotate(next, old)])
    for (const keys of [...both, await create(next)]) {
      assert.equal(keys.open(sealed, 'receiver 1').toString(), 'secret')
    }
    assert.equal(running.open(both[0].seal('new', 'receiver 2'), 'receiver 2').toString(), 'new')
    await assert.rejects(create(old), StartupError)
    await assert.rejects(rotate(old, randomBytes(32)), StartupError)
    assert.equal((await test.db('audit_log').where({ action: 'key_ring.resealed' })).length, 1)
  })

  it('goes on reading signing keys, and says why, when the ring has a key under another master key', async () => {
    const [old, next] = [randomBytes(32), randomBytes(32)]
    const running = await create(old)
    await running.ring.addKey(test.db, 0)
    await running.refresh()
    const restarted = await createKeyService({ ...options(), masterKey: next, previousMasterKey: old })
    const ringKey = await restarted.ring.addKey(test.db, 0)
    await restarted.refresh()
    const material = await makeKeyMaterial('ES256')
    const added = { material, use: 'log', origin: 'generated', leadMs: 0 } as const
    const { kid } = await insertSigningKey(test.db, restarted.ring, added)
    assert.equal(await running.refresh(), true)
    assert.ok(running.logPublicKeys().has(kid))
    assert.deepEqual(running.ring.unreadable(), [ringKey.id])
    assert.match(running.warning ?? '', new RegExp(`${ringKey.id}.*another master key`))
    assert.equal(restarted.warning, undefined)
    await resealSigningKeys(test.db, running.ring)
    assert.equal((await create(next)).logSigningKey().kid, kid)
  })

  for (const [which, old] of [
    ['another', randomBytes(32)],
    ['no', undefined],
  ] as const) {
    it(`adds no key to the ring by a process that has ${which} master key`, async () => {
      const running = await create(old)
      const next = randomBytes(32)
      await createKeyService({ ...options(), masterKey: next, ...(old && { previousMasterKey: old }) })
      await assert.rejects(running.ring.addKey(test.db, 0), Conflict)
      await create(next)
    })
  }

  it('opens the content of a day whose key was sealed by a ring key that another process has just added', async () => {
    const running = await create()
    const other = await create()
    const added = await other.ring.addKey(test.db, 0)
    await other.refresh()
    const sealed = (await other.contentCipher('2026-11-22')).seal(Buffer.from('a@example.com'))
    const [row] = await test.db('data_keys').where({ day: '2026-11-22' }).select('wrapped')
    assert.equal(row.wrapped.subarray(1, 5).toString('hex'), added.id)
    assert.equal((await running.contentCipher('2026-11-22')).open(sealed).toString(), 'a@example.com')
  })

  it('says that the content of a day does not open when the ring has no key for it anywhere', async () => {
    const keys = await create()
    await keys.contentCipher('2026-11-22')
    await test
      .db('data_keys')
      .where({ day: '2026-11-22' })
      .update({ wrapped: Buffer.alloc(61, 1) })
    await assert.rejects((await create()).contentCipher('2026-11-22'), SealBroken)
  })

  it('opens a sealed value only under its own context and only unchanged', async () => {
    const keys = await create()
    const sealed = keys.seal('secret', 'receiver 1')
    assert.equal(keys.open(sealed, 'receiver 1').toString(), 'secret')
    assert.notDeepEqual(keys.seal('secret', 'receiver 1'), sealed)
    assert.throws(() => keys.open(sealed, 'receiver 2'), SealBroken)
    for (const index of [0, 2, 8, 20, sealed.length - 1]) {
      const changed = Buffer.from(sealed)
      changed[index] = (changed[index] ?? 0) ^ 1
      assert.throws(() => keys.open(changed, 'receiver 1'), SealBroken, `byte ${index}`)
    }
    assert.throws(() => keys.open(sealed.subarray(0, 10), 'receiver 1'), SealBroken)
  })

  it('gives an HMAC of 32 bytes that differs by purpose', async () => {
    const keys = await create()
    assert.equal(keys.hmac('subject', 'a').length, 32)
    const all = (['subject', 'event-key'] as const).map((purpose) => keys.hmac(purpose, 'a').toString('hex'))
    assert.equal(new Set(all).size, 2)
  })

  it('erases the content of a day with its key', async () => {
    const sealed = (await (await create()).contentCipher('2026-10-01')).seal(Buffer.from('a@example.com'))
    await (await create()).contentCipher('2026-10-02')
    assert.equal(await eraseContentKeys(test.db, '2026-10-02'), 1)
    const cipher = await (await create()).contentCipher('2026-10-01')
    assert.throws(() => cipher.open(sealed), SealBroken)
  })
})
