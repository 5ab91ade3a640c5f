import assert from 'node:assert/strict'
import request from 'supertest'
import { createClock } from '../../src/kernel/clock.js'
import { createDefaultSubjects } from '../../src/streams/default-subjects.js'
import type { SsfHarness } from '../streams/ssf-harness.js'
import { createTestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'
import { describeSsf } from './ssf-places.js'

describeSsf('SSF 1.0 §7.1 default_subjects', (place) => {
  let ssf: SsfHarness
  before(async () => {
    ssf = await place.open()
  })
  after(() => ssf.close())

  async function shown(): Promise<unknown> {
    const { status, body } = await request(ssf.app).get('/.well-known/ssf-configuration')
    assert.equal(status, 200)
    return body.default_subjects
  }

  it('is left out of metadata while an enabled receiver takes none, and says nothing else of it (T-66)', async () => {
    // Other suites may have left such receivers on hubs they share.
    if (place.isInside) assert.equal(await shown(), 'ALL')
    const { id } = await ssf.addReceiver('takes-none-at-first', { defaultSubjects: 'NONE' })
    await waitUntil('the member goes', async () => (await shown()) === undefined)
    const { text } = await request(ssf.app).get('/.well-known/ssf-configuration')
    assert.doesNotMatch(text, /NONE|takes-none/)
    await ssf.db('receivers').where({ id }).update({ enabled: false })
    if (place.isInside) await waitUntil('the member is back', async () => (await shown()) === 'ALL')
  })
})

describe('what metadata says of default_subjects', () => {
  it('is nothing while the database does not answer, asked once a second at most', async () => {
    const { db, close } = await createTestDatabase()
    let nowMs = 0
    const ask = createDefaultSubjects(db, { ...createClock(), monotonicMs: () => nowMs })
    assert.equal(await ask(), 'ALL')
    await db.raw('alter table receivers rename to receivers_away')
    nowMs = 999
    assert.equal(await ask(), 'ALL')
    nowMs = 1_000
    assert.equal(await ask(), undefined)
    await db.raw('alter table receivers_away rename to receivers')
    nowMs = 2_000
    assert.equal(await ask(), 'ALL')
    await close()
  })
})
