import assert from 'node:assert/strict'
import { createHubProcess, type HubProcess } from '../support/hub-process.js'
import { createScene, type Scene } from '../support/hub-scene.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { type LaterRelease, makeLaterRelease } from './later-release.js'

const ADDS = '29991231000000_add_nickname.js'
const TAKES = '29991231000001_drop_nickname.needs-29991231000000.js'

describe('fault: two releases on one database', function () {
  this.timeout(180_000)
  let release: LaterRelease
  let database: TestDatabase
  let older: HubProcess
  let newer: HubProcess
  let scene: Scene

  before(async () => {
    database = await createTestDatabase()
    release = await makeLaterRelease()
    await release.addMigration(ADDS, "alter table receivers add column nickname text default 'none'")
    const env = { DATABASE_URL: database.url, ISSUER: 'http://127.0.0.1:8080' }
    older = await createHubProcess({ env })
    newer = await createHubProcess({ env, entry: release.entry })
    older.start()
    await older.ready()
    scene = await createScene([older, newer])
    await scene.addPush('push')
  })
  after(async () => {
    await scene?.close()
    await older?.remove()
    await newer?.remove()
    await database?.close()
    await release.remove()
  })

  it('goes on with the older one while the newer one migrates and starts beside it', async () => {
    await scene.push({ txn: 'older alone' })
    newer.start()
    await newer.ready()
    assert.match(newer.output(), new RegExp(`"applied":\\["${ADDS}"\\]`))
    await older.ready()
    for (let n = 0; n < 20; n += 1) await scene.push({ txn: `both ${n}` })
    await scene.settled()
  })

  it('starts the older one again after it died, on the schema of the newer one', async () => {
    older.signal('SIGKILL')
    await older.ended()
    older.start()
    await older.ready()
    await scene.addPush('another')
    for (let n = 0; n < 20; n += 1) await scene.push({ txn: `again ${n}` })
    await scene.settled()
  })

  it('refuses the older one once a later release took away what it needs, and says so', async () => {
    newer.signal('SIGTERM')
    older.signal('SIGTERM')
    await Promise.all([newer.ended(), older.ended()])
    await release.addMigration(TAKES, 'alter table receivers drop column nickname')
    newer.start()
    await newer.ready()
    older.start()
    assert.deepEqual(await older.ended(), { code: 1, signal: null })
    assert.match(
      older.stderr(),
      new RegExp(
        `firebreak: the database was migrated by a newer firebreak \\(${TAKES}\\).*start that release`,
      ),
    )
  })
})
