import assert from 'node:assert/strict'
import { createAdapterFactory } from '../../src/auth/authorization-adapter.js'
import type { Receiver } from '../../src/auth/receiver.js'
import { createReceiverRepository } from '../../src/auth/receiver-repository.js'
import { hashSecret } from '../../src/auth/secrets.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { sqlRows } from '../../src/storage/database.js'
import { manualClock } from '../ingest/ingest-fixture.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'

const ID = '33333333-3333-4333-8333-333333333333'
const KEYED = '44444444-4444-4444-8444-444444444444'
const SECRET_HASH = hashSecret('the secret')
const JWKS = { keys: [{ kty: 'EC', kid: 'k1' }] }

describe('auth: storage of the authorization server', () => {
  let test: TestDatabase
  let clock: ReturnType<typeof manualClock>
  let secretHash: string | undefined
  let warnings: unknown[]
  before(async () => {
    test = await createTestDatabase()
    const receivers = createReceiverRepository()
    for (const [id, hash] of [
      [ID, SECRET_HASH],
      [KEYED, null],
    ] as const) {
      const authMethod = hash ? 'client_secret_post' : 'private_key_jwt'
      const made = await receivers.insert(test.db, receiverOf(id, authMethod), hash)
      assert.ok(made)
    }
  })
  after(() => test.close())
  beforeEach(async () => {
    clock = manualClock()
    secretHash = SECRET_HASH.toString('hex')
    warnings = []
    await sqlRows(test.db, 'delete from oauth_artifacts')
    await sqlRows(test.db, 'update receivers set enabled = true')
  })

  function receiverOf(id: string, authMethod: 'client_secret_post' | 'private_key_jwt'): Receiver {
    const jwks = authMethod === 'private_key_jwt' ? JWKS : null
    const settings = { profile: null, compatibility: [], signingAlg: 'RS256' } as const
    const open = { inactivityTimeoutS: null, grantEventTypes: null, grantSources: null, tokenIssuer: null }
    const times = { createdAt: new Date(), updatedAt: new Date() }
    const names = { id, name: id, clientId: id, audience: id, authMethod, jwks, enabled: true }
    return { ...names, ...settings, ...open, ...times, reports: [], defaultSubjects: 'ALL' }
  }
  const factory = () =>
    createAdapterFactory({
      db: test.db,
      clock,
      logger: { ...silentLogger, warn: (event, fields) => void warnings.push([event, fields]) },
      currentSecretHash: () => secretHash,
    })
  const artifacts = () =>
    sqlRows<{ model: string; client_id: string | null; lives_s: number }>(
      test.db,
      `select model, client_id, round(extract(epoch from expires_at - now()))::int as lives_s
       from oauth_artifacts order by model`,
    )
  const expire = (count: number) =>
    sqlRows(
      test.db,
      `insert into oauth_artifacts (model, id_hash, payload, expires_at)
       select 'ClientCredentials', sha256(n::text::bytea), '{}', now() - interval '1 s' from generate_series(1, ?::int) n`,
      [count],
    )
  const expired = async () =>
    (await sqlRows(test.db, 'select 1 from oauth_artifacts where expires_at < now()')).length

  it('knows enabled receivers as clients, by their secret’s hash or by their keys (RFC 7591 §2)', async () => {
    const clients = factory()('Client')
    const shared = { grant_types: ['client_credentials'], response_types: [], redirect_uris: [] }
    assert.deepEqual(await clients.find(ID), {
      ...shared,
      client_id: ID,
      token_endpoint_auth_method: 'client_secret_post',
      client_secret: SECRET_HASH.toString('hex'),
    })
    assert.deepEqual(await clients.find(KEYED), {
      ...shared,
      client_id: KEYED,
      token_endpoint_auth_method: 'private_key_jwt',
      jwks: JWKS,
    })
    for (const id of ['nobody', `${ID}\0`, '']) assert.equal(await clients.find(id), undefined)
    await sqlRows(test.db, 'update receivers set enabled = false')
    for (const id of [ID, KEYED]) assert.equal(await clients.find(id), undefined)
  })

  it('finds a token by its model while it lives, and forgets it when told', async () => {
    const tokens = factory()('ClientCredentials')
    await tokens.upsert('t1', { clientId: ID, scope: 'ssf.read', jti: 't1' }, 60)
    assert.deepEqual(await tokens.find('t1'), { clientId: ID, scope: 'ssf.read', jti: 't1' })
    assert.equal(await factory()('AccessToken').find('t1'), undefined)
    assert.equal(await tokens.find('t2'), undefined)
    await sqlRows(test.db, 'update oauth_artifacts set expires_at = now()')
    assert.equal(await tokens.find('t1'), undefined)
    await tokens.upsert('t2', { clientId: ID }, 60)
    await factory()('AccessToken').destroy('t2')
    assert.ok(await tokens.find('t2'))
    await tokens.destroy('t2')
    assert.equal(await tokens.find('t2'), undefined)
  })

  it('keeps nothing for longer than told, and for an hour when not told', async () => {
    const adapter = factory()
    await adapter('ClientCredentials').upsert('t', { clientId: ID }, undefined as never)
    await adapter('ReplayDetection').upsert('a', { iss: ID }, 60)
    const [token, assertion] = await artifacts()
    assert.deepEqual([token?.client_id, token?.lives_s], [ID, 3_600])
    assert.deepEqual([assertion?.client_id, assertion?.lives_s], [null, 60])
  })

  it('refuses an assertion that it knows, and a token of a client that changed meanwhile', async () => {
    const adapter = factory()
    const assertions = adapter('ReplayDetection')
    await assertions.upsert('a', {}, 60)
    await assert.rejects(assertions.upsert('a', {}, 60), {
      error: 'invalid_client',
      error_detail: 'client assertion tokens must only be used once',
    })
    const tokens = adapter('ClientCredentials')
    const changed = { error: 'invalid_client', error_detail: 'client changed meanwhile' }
    secretHash = hashSecret('before the rotation').toString('hex')
    await assert.rejects(tokens.upsert('t', { clientId: ID }, 60), changed)
    await assert.rejects(tokens.upsert('t', { clientId: KEYED }, 60), changed)
    secretHash = undefined
    await assert.rejects(tokens.upsert('t', { clientId: ID }, 60), changed)
    await tokens.upsert('t', { clientId: KEYED }, 60)
    await sqlRows(test.db, 'update receivers set enabled = false')
    await assert.rejects(tokens.upsert('u', { clientId: KEYED }, 60), changed)
    assert.equal((await artifacts()).length, 2)
  })

  it('forgets what has ended once a minute, without anybody waiting for it', async () => {
    const assertions = factory()('ReplayDetection')
    await expire(1_000)
    clock.advance(59_999)
    await assertions.upsert('a', {}, 60)
    assert.equal(await expired(), 1_000)
    clock.advance(1)
    await assertions.upsert('b', {}, 60)
    await waitUntil('all expired are gone', async () => (await expired()) === 0)
    assert.equal((await artifacts()).length, 2)
  })

  it('tells the log when forgetting failed, and does it with the next token', async () => {
    await sqlRows(
      test.db,
      `create function refuse() returns trigger language plpgsql as $$ begin raise 'not now'; end $$`,
    )
    await sqlRows(
      test.db,
      'create trigger refuse before delete on oauth_artifacts for each row execute function refuse()',
    )
    const assertions = factory()('ReplayDetection')
    await expire(1)
    clock.advance(60_000)
    await assertions.upsert('a', {}, 60)
    await waitUntil('the warning', () => warnings.length > 0)
    assert.match(JSON.stringify(warnings), /^\[\["oauth\.purge_failed",\{"error":".*not now"\}\]\]$/)
    await sqlRows(test.db, 'drop trigger refuse on oauth_artifacts')
    await waitUntil('the row is forgotten', async () => {
      await assertions.upsert(`b${Math.random()}`, {}, 60)
      return (await expired()) === 0
    })
  })
})
