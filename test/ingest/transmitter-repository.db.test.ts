import assert from 'node:assert/strict'
import type { TransmitterSettings } from '../../src/ingest/transmitter.js'
import { createTransmitterRepository } from '../../src/ingest/transmitter-repository.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { AUDIENCE, transmitterOf } from './ingest-fixture.js'

describe('ingest: the table of transmitters', () => {
  const repository = createTransmitterRepository()
  let test: TestDatabase

  before(async () => {
    test = await createTestDatabase()
  })
  after(() => test.close())
  beforeEach(() => test.db('transmitters').delete())

  const insert = async (name: string, more: Partial<TransmitterSettings> = {}) => {
    const { id: _id, version: _version, createdAt: _at, updatedAt: _changed, ...settings } = transmitterOf()
    const made = await repository.insert(test.db, crypto.randomUUID(), { ...settings, name, ...more })
    return made ?? assert.fail('the name is taken')
  }

  it('keeps all that it is given, and nothing beside', async () => {
    const { jwks: _jwks, ...plain } = await insert('plain')
    const keys = { jwksUri: 'https://idp.example/keys', discover: 'https://idp.example/metadata' }
    const receiverId = crypto.randomUUID()
    const urgentTypes = ['urn:b', 'urn:a']
    const rich = await insert('rich', {
      ...keys,
      receiverId,
      urgentTypes,
      authorizationHash: Buffer.from('h'),
    })
    for (const name of ['jwksUri', 'discover', 'receiverId', 'authorizationHash'])
      assert.ok(!(name in plain), name)
    assert.deepEqual(
      { jwksUri: rich.jwksUri, discover: rich.discover, receiverId: rich.receiverId },
      { ...keys, receiverId },
    )
    assert.deepEqual(rich.authorizationHash, Buffer.from('h'))
    assert.deepEqual([plain.urgentTypes, rich.urgentTypes], [[], urgentTypes])
    assert.deepEqual(await repository.find(test.db, rich.id), rich)
    assert.equal(await repository.insert(test.db, crypto.randomUUID(), rich), undefined, 'its name is taken')
  })

  it('pins an audience once', async () => {
    const { id } = await insert('a', { audience: [] })
    assert.equal(await repository.pinAudience(test.db, id, [AUDIENCE]), true)
    assert.equal(await repository.pinAudience(test.db, id, [AUDIENCE]), false)
    assert.equal(await repository.pinAudience(test.db, crypto.randomUUID(), [AUDIENCE]), false)
    const pinned = await repository.find(test.db, id)
    assert.deepEqual([pinned?.audience, pinned?.version], [[AUDIENCE], 2])
  })

  it('is read whole, and in pages by name', async () => {
    const [b, a, c] = [await insert('b'), await insert('a'), await insert('c')]
    const all = await repository.loadAll(test.db)
    assert.deepEqual(
      all.sort((one, other) => one.name.localeCompare(other.name)),
      [a, b, c],
    )
    assert.deepEqual(await repository.list(test.db, { limit: 2 }), [a, b])
    assert.deepEqual(await repository.list(test.db, { limit: 2, afterName: 'b' }), [c])
  })

  it('says whether there was a row to change or delete', async () => {
    const made = await insert('a')
    const updated = await repository.update(test.db, made.id, { ...made, urgentTypes: ['urn:c'] })
    assert.deepEqual([updated?.version, updated?.urgentTypes], [2, ['urn:c']])
    assert.equal(await repository.remove(test.db, made.id), true)
    assert.equal(await repository.remove(test.db, made.id), false)
    assert.equal(await repository.update(test.db, made.id, made), undefined)
  })
})
