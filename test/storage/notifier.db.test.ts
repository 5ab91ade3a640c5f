import assert from 'node:assert/strict'
import { silentLogger } from '../../src/kernel/logger.js'
import { sqlRows } from '../../src/storage/database.js'
import { createNotifier, type Notifier } from '../../src/storage/notifier.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'

describe('storage: notifier', () => {
  let test: TestDatabase
  let one: Notifier
  let two: Notifier
  beforeEach(async () => {
    test = await createTestDatabase()
    one = createNotifier({ url: test.url, logger: silentLogger })
    two = createNotifier({ url: test.url, logger: silentLogger })
    await one.start()
  })
  afterEach(async () => {
    await one.stop()
    await two.stop()
    await test.close()
  })

  it('carries a hint to another process, to the channel it was for', async () => {
    const heard: string[] = []
    two.on('stream', (payload) => heard.push(payload))
    two.on('Other"channel', (payload) => heard.push(`other ${payload}`))
    await two.start()
    one.notify('stream', 's1')
    one.notify('Other"channel', 'x')
    await waitUntil('both hints are heard', () => heard.length === 2)
    assert.deepEqual(heard.sort(), ['other x', 's1'])
  })

  it('sends equal hints that wait together once, and different ones each', async () => {
    const heard: string[] = []
    two.on('wake', (payload) => heard.push(payload))
    two.on('end', () => heard.push('end'))
    await two.start()
    for (let n = 0; n < 100; n += 1) one.notify('wake', n % 2 === 0 ? 'control' : 'urgent')
    one.notify('end')
    // Hints arrive in the order they were sent, so nothing comes after this one.
    await waitUntil('the last hint is heard', () => heard.includes('end'))
    assert.deepEqual(heard, ['control', 'urgent', 'end'])
  })

  it('stops calling a listener that was taken off', async () => {
    const heard: string[] = []
    const off = two.on('a', () => heard.push('off'))
    two.on('a', () => heard.push('on'))
    await two.start()
    off()
    await waitUntil('the hint is heard', () => {
      one.notify('a')
      return heard.length > 0
    })
    assert.ok(!heard.includes('off'))
  })

  it('comes back after its connection was cut, and rings because it may have missed something', async () => {
    const heard: string[] = []
    two.on('stream', (payload) => heard.push(payload))
    await two.start()
    await sqlRows(
      test.db,
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'firebreak notifier' and datname = current_database()",
    )
    await waitUntil('the ring after the cut is heard', () => heard.includes(''))
    await waitUntil('the hint is heard', () => {
      one.notify('stream', 's2')
      return heard.includes('s2')
    })
    assert.deepEqual(two.health(), { ok: true })
  })
})
