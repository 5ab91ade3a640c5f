import { makeLaterRelease } from '../later-release.js'
import type { Row } from '../row.js'

const ADDS = '29991231000000_add_nickname.js'

const upgraded: Row = {
  id: 'U1',
  title: 'a later release migrates and starts beside the older one, under load; then back to the older one',
  expected: 'both work on one database, the way back works, nothing is lost',
  async run(rig) {
    const release = await makeLaterRelease()
    rig.atEnd(() => release.remove())
    await release.addMigration(ADDS, "alter table receivers add column nickname text default 'none'")
    const databaseUrl = await rig.database()
    const env = { ISSUER: 'http://127.0.0.1:8080' }
    const older = await rig.hub({ databaseUrl, env })
    const newer = await rig.hub({ databaseUrl, env, entry: release.entry, start: false })
    const scene = await rig.scene([older, newer])
    const load = rig.load(scene)
    await load.goesOn(36, 'by the older one alone')
    await rig.during(async () => {
      newer.start()
      await newer.ready()
      await load.goesOn(36, 'by both')
      older.signal('SIGTERM')
      await older.ended()
      await load.goesOn(36, 'by the newer one alone')
      older.start()
      await older.ready()
      newer.signal('SIGTERM')
      await newer.ended()
      await load.goesOn(36, 'by the older one on the newer schema')
    })
    await load.stop()
    return 'older, both, newer, and older again on the newer schema'
  },
}

export const RELEASE_ROWS: readonly Row[] = [upgraded]
