import assert from 'node:assert/strict'
import { newId } from '../../src/kernel/ids.js'
import { CAEP } from '../../src/secevent/event-types.js'
import { addReceiver, type RealHub, startRealHub } from '../support/order-real-hub.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'

const CONNECTIONS = 2

describe('fault: a lane whose fan-out stands still', function () {
  this.timeout(120_000)
  let database: TestDatabase
  let hub: RealHub
  let token: string
  let pollPath: string

  before(async () => {
    database = await createTestDatabase()
    hub = await startRealHub(database.url, { env: { DATABASE_POOL_SIZE: String(CONNECTIONS) } })
    token = (await addReceiver(hub, { name: 'gateway' })).token
    const body = {
      events_requested: [CAEP.sessionRevoked, CAEP.sessionEstablished],
      delivery: { method: 'urn:ietf:rfc:8936' },
    }
    const { stream_id } = await hub.call<{ stream_id: string }>('POST', '/ssf/streams', body, token)
    pollPath = `/ssf/poll/${stream_id}`
  })
  after(async () => {
    await hub?.stop()
    await database?.close()
  })

  async function emit(type: string): Promise<string> {
    const sub_id = { format: 'opaque', id: newId() }
    const claims = { reason_admin: { en: 'a test' } }
    const event = type === CAEP.sessionRevoked ? claims : {}
    return (await hub.call<{ txn: string }>('POST', '/v1/events', { type, sub_id, event })).txn
  }

  async function polled(): Promise<unknown[]> {
    const { sets } = await hub.call<{ sets: Record<string, string> }>(
      'POST',
      pollPath,
      { returnImmediately: true },
      token,
    )
    return Object.values(sets).map((set) => {
      const claims = JSON.parse(Buffer.from(set.split('.')[1] ?? '', 'base64url').toString()) as {
        txn: string
      }
      return claims.txn
    })
  }

  it('keeps no urgent SET waiting, and loses nothing of its own', async () => {
    const trx = await database.db.transaction()
    await trx.raw('select 1 from partition_fences where lane = 2 for update')
    const routine: string[] = []
    for (let index = 0; index < 10; index += 1) routine.push(await emit(CAEP.sessionEstablished))
    await waitUntil('the routine fan-out to stand still', async () => {
      const { rows } = await database.db.raw(
        `select 1 from pg_stat_activity where application_name = 'firebreak routine' and wait_event_type = 'Lock'
         and datname = current_database()`,
      )
      return rows.length > 0
    })
    const urgent = await emit(CAEP.sessionRevoked)
    await waitUntil('the urgent SET', async () => (await polled()).includes(urgent))
    assert.deepEqual(await polled(), [urgent])
    await trx.rollback()
    await waitUntil('the routine ones', async () => (await polled()).length === 11)
    assert.deepEqual(new Set(await polled()), new Set([urgent, ...routine]))
  })
})
