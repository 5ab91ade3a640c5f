import assert from 'node:assert/strict'
import { createHubProcess, type HubProcess, startHub } from '../support/hub-process.js'
import { createScene, type Scene } from '../support/hub-scene.js'
import { isAlive, processesWith } from '../support/process-list.js'
import { pushLoad } from '../support/set-producer.js'

/** Contract: a hub that is told to end has ended within 15 s. */
const STOP_MS = 15_000

describe('fault: a hub on its embedded Postgres', function () {
  this.timeout(180_000)
  let hub: HubProcess
  let scene: Scene

  before(async () => {
    hub = await startHub()
    scene = await createScene([hub])
    await scene.addPush('push')
    await scene.addPoll('poll')
  })

  after(async () => {
    await scene?.close()
    await hub?.remove()
  })

  const load = (count: number, giveUp?: () => boolean) =>
    pushLoad({
      upstream: scene.upstream,
      ledger: scene.ledger,
      urls: scene.ingestUrls,
      count,
      ...(giveUp && { giveUp }),
    })

  /** Pushes until the signal was sent and the hub takes no more. */
  async function pushWhile(stop: () => void): Promise<void> {
    let stopping = false
    let refusals = 0
    const loading = pushLoad({
      upstream: scene.upstream,
      ledger: scene.ledger,
      urls: scene.ingestUrls,
      count: 100_000,
      giveUp: () => stopping && ++refusals > 100,
      onAccepted(count) {
        if (count !== 300) return
        stopping = true
        stop()
      },
    })
    const { accepted } = await loading
    assert.ok(accepted >= 300, `${accepted} accepted`)
  }

  function assertNothingRuns(postgres: number | undefined): void {
    assert.equal(hub.postgresPid(), undefined)
    assert.ok(postgres !== undefined && !isAlive(postgres))
    assert.deepEqual(processesWith(hub.dataDir), [])
  }

  async function comeBack(): Promise<void> {
    hub.start()
    await hub.ready()
    await load(100)
    await scene.settled()
  }

  it('drains under load at SIGTERM before Postgres stops, exits with 0 and leaves no process', async () => {
    const postgres = hub.postgresPid()
    const from = hub.output().length
    await pushWhile(() => hub.signal('SIGTERM'))
    assert.deepEqual(await hub.ended(STOP_MS), { code: 0, signal: null })
    assertNothingRuns(postgres)
    const log = hub.output().slice(from)
    assert.match(log, /hub\.stopped/)
    // Nothing that was still at work found the database gone.
    assert.doesNotMatch(log, /"level":"error"/)
    await comeBack()
  })

  it('drains at Ctrl-C, which a terminal sends to the whole process group', async () => {
    const postgres = hub.postgresPid()
    const from = hub.output().length
    await pushWhile(() => hub.signalGroup('SIGINT'))
    assert.deepEqual(await hub.ended(STOP_MS), { code: 0, signal: null })
    assertNothingRuns(postgres)
    assert.doesNotMatch(hub.output().slice(from), /"level":"error"/)
    await comeBack()
  })

  it('adopts the Postgres that outlived a hub killed with SIGKILL, and loses nothing', async () => {
    const postgres = hub.postgresPid()
    await pushWhile(() => hub.signal('SIGKILL'))
    assert.equal((await hub.ended()).signal, 'SIGKILL')
    assert.equal(hub.postgresPid(), postgres)
    await comeBack()
    assert.equal(hub.postgresPid(), postgres)
  })

  // SIGINT is PostgreSQL's fast shutdown.
  for (const signal of ['SIGKILL', 'SIGINT'] as const) {
    it(`starts a Postgres that ended by ${signal} again and loses nothing, without a restart by hand`, async () => {
      const postgres = hub.postgresPid() ?? 0
      const hubPid = hub.pid()
      let refusedAfterKill = 0
      const { refused } = await pushLoad({
        upstream: scene.upstream,
        ledger: scene.ledger,
        urls: scene.ingestUrls,
        count: 1_000,
        onAccepted: (count) => void (count === 300 && process.kill(postgres, signal)),
      })
      for (const count of refused.values()) refusedAfterKill += count
      // 503 with Retry-After, never a 500 and never a closed connection.
      assert.deepEqual(
        [...refused.keys()].filter((status) => status !== 503),
        [],
        JSON.stringify([...refused]),
      )
      assert.ok(refusedAfterKill > 0)
      await scene.settled()
      assert.equal(hub.pid(), hubPid)
      assert.notEqual(hub.postgresPid(), postgres)
      await hub.ready()
    })
  }

  it('starts again at once when the hub and Postgres were both killed with SIGKILL', async () => {
    const postgres = hub.postgresPid() ?? 0
    await pushWhile(() => {
      hub.signal('SIGKILL')
      process.kill(postgres, 'SIGKILL')
    })
    await comeBack()
    assert.notEqual(hub.postgresPid(), postgres)
  })

  it('refuses a second hub on the same data in one line that names the first, which goes on', async () => {
    const second = await createHubProcess({ dataDir: hub.dataDir })
    try {
      second.start()
      assert.deepEqual(await second.ended(), { code: 1, signal: null })
      const line = second
        .output()
        .split('\n')
        .find((text) => text.startsWith('firebreak:'))
      assert.match(line ?? second.output(), new RegExp(`another firebreak hub \\(process ${hub.pid()}\\)`))
      await load(50)
      await scene.settled()
    } finally {
      await second.remove()
    }
    assert.ok(isAlive(hub.pid()))
  })
})
