import assert from 'node:assert/strict'
import { sqlRows } from '../../src/storage/database.js'
import { runCommand } from '../support/cli-run.js'
import { createHubProcess, type HubProcess, startHub } from '../support/hub-process.js'
import { createScene, type Scene, type ScenePush } from '../support/hub-scene.js'
import type { TestDatabase } from '../support/postgres.js'
import { pushSet } from '../support/set-producer.js'
import { waitUntil } from '../support/wait.js'
import { createEmptyDatabase } from './archive-rig.js'

/** The recipe of docs/operating.md, with what is open at that moment. */
describe('a hub that moves from its embedded PostgreSQL to a real one', function () {
  this.timeout(180_000)
  let embedded: HubProcess
  let moved: HubProcess | undefined
  let scene: Scene
  let down: ScenePush
  let target: TestDatabase
  let archive: string

  before(async () => {
    target = await createEmptyDatabase()
    embedded = await startHub()
    archive = `${embedded.folder}/moving.backup`
    scene = await createScene([embedded])
    await scene.addPush('up')
    down = await scene.addPush('down')
  })
  after(async () => {
    await scene?.close()
    await moved?.remove()
    await embedded?.remove()
    await target?.close()
  })

  const firebreak = (env: Record<string, string>, ...words: string[]) => runCommand(words, { env }).ended
  const kidsOf = async (hub: HubProcess) => {
    const { keys } = (await (await fetch(`${hub.url}/ssf/jwks.json`)).json()) as { keys: { kid: string }[] }
    return keys.map(({ kid }) => kid).sort()
  }
  const kidOf = (set: string) =>
    (JSON.parse(Buffer.from(set.split('.')[0] ?? '', 'base64url').toString()) as { kid: string }).kid

  it('keeps its keys, its streams and their tokens, and delivers what was open, exactly once', async () => {
    await scene.push({ txn: 'before' })
    await scene.settled()
    const keys = await kidsOf(embedded)
    // From here on one of the points takes nothing: its SETs stay open and go along.
    await down.sink.shut()
    scene.ledger.release('down')
    const first = await scene.push({ txn: 'open 1' })
    await scene.push({ txn: 'open 2' })
    await scene.settled()

    // A backup beside the living hub, without stopping anything.
    const live = await firebreak(
      { DATA_DIR: embedded.dataDir },
      'backup',
      '--out',
      `${archive}.live`,
      '--json',
    )
    assert.equal(live.code, 0, live.err)
    await embedded.ready()
    const refused = await firebreak({ DATA_DIR: embedded.dataDir }, 'restore', '--from', `${archive}.live`)
    assert.equal(refused.code, 1)
    assert.match(refused.err, /another firebreak hub \(process \d+\) is using/)

    embedded.signal('SIGTERM')
    assert.equal((await embedded.ended()).code, 0)
    const made = await firebreak({ DATA_DIR: embedded.dataDir }, 'backup', '--out', archive)
    assert.equal(made.code, 0, made.err)
    // It started PostgreSQL for itself, and leaves it as it was.
    assert.equal(embedded.postgresPid(), undefined)
    const restored = await firebreak({ DATABASE_URL: target.url }, 'restore', '--from', archive)
    assert.equal(restored.code, 0, restored.err)

    moved = await createHubProcess({ port: embedded.port, env: { DATABASE_URL: target.url } })
    moved.start()
    await moved.ready()
    assert.deepEqual(await kidsOf(moved), keys)
    await down.sink.open()
    scene.ledger.expect('down')
    // The source sends one again, because it never heard of the move.
    assert.equal(await pushSet(scene.ingestUrls[0] as string, first), 202)
    const later = await scene.push({ txn: 'after' })
    assert.ok(later)
    await scene.settled()

    await waitUntil('what was open has come', () => scene.ledger.receipts('down').length >= 4)
    const received = (name: string) =>
      scene.ledger
        .receipts(name)
        .map(({ txn }) => txn)
        .sort()
    assert.deepEqual(received('up'), ['after', 'before', 'open 1', 'open 2'])
    assert.deepEqual(received('down'), ['after', 'before', 'open 1', 'open 2'])
    // Same receiver token, same stream, and a key of before signs.
    const stream = await down.receiver.call<{ stream_id: string }>(
      'GET',
      `/ssf/streams?stream_id=${down.streamId}`,
    )
    assert.equal(stream.stream_id, down.streamId)
    const rows = await sqlRows<{ n: number }>(
      target.db,
      "select count(*) n from audit_log where action = 'backup.restored'",
    )
    assert.equal(rows[0]?.n, 1)
  })

  it('signs with the key that it signed with before', async () => {
    const kids: string[] = []
    down.sink.answerWith((set) => {
      kids.push(kidOf(set))
      return 202
    })
    await scene.push({ txn: 'signed' })
    await scene.settled()
    assert.ok((await kidsOf(embedded)).includes(kids[0] ?? ''))
  })
})
