import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { startSink } from '../../support/set-sink.js'
import { waitUntil } from '../../support/wait.js'
import type { FaultRig, FaultScene } from '../rig.js'
import type { Row } from '../row.js'
import { type ListedKey, type StrictReceiver, startStrictReceiver } from '../strict-receiver.js'

const LEAD_S = 8

/** A stream whose receiver keeps the keys as long as it was told, and checks every signature by them. */
async function addStrict(rig: FaultRig, scene: FaultScene): Promise<StrictReceiver> {
  const strict = startStrictReceiver(scene.hubs, LEAD_S)
  rig.atEnd(() => strict.stop())
  const sink = await startSink((set) => {
    strict.take(set)
    scene.ledger.received('strict', set)
  })
  rig.atEnd(() => sink.close())
  await scene.addPushTo('strict', sink.url)
  return strict
}

const signing: Row = {
  id: 'J5',
  title: 'own signing keys and the ring key are changed under load, then the master key; two hubs',
  expected: 'receivers never see a key that is not published; nothing sealed stays shut',
  async run(rig) {
    const masters = [randomBytes(32).toString('base64'), randomBytes(32).toString('base64')] as const
    const pair = await rig.twoHubs({
      SIGNING_KEY_LEAD_S: String(LEAD_S),
      SIGNING_KEY_GRACE_S: '10',
      FIREBREAK_MASTER_KEY: masters[0],
    })
    const scene = await rig.scene(pair, { push: 1, poll: 1 })
    const strict = await addStrict(rig, scene)
    const load = rig.load(scene)
    const rotate = (use: string) =>
      scene.admin.call<{ items: ListedKey[] }>('POST', '/v1/keys/rotate', { use })
    await rig.during(async () => {
      const { items } = await rotate('set')
      for (const use of ['log', 'ring']) await rotate(use)
      // The strict receiver has the one algorithm of its stream.
      const fresh = items.filter(({ alg }) => alg === 'ES256').map(({ kid }) => kid)
      await waitUntil(
        'the new key signs',
        () => fresh.length > 0 && fresh.every((kid) => (strict.seen.get(kid) ?? 0) > 20),
        { deadlineMs: 90_000 },
      )
      for (const hub of pair) {
        Object.assign(hub.env, {
          FIREBREAK_MASTER_KEY: masters[1],
          FIREBREAK_MASTER_KEY_PREVIOUS: masters[0],
        })
        hub.signal('SIGTERM')
        assert.equal((await hub.ended()).code, 0)
        hub.start()
        await hub.ready()
      }
    })
    await load.stop()
    await strict.stop()
    assert.deepEqual(strict.unpublished, [])
    assert.ok(strict.seen.size >= 2, 'the key did not change')
    for (const hub of pair) assert.doesNotMatch(hub.output(), /ERR_SEAL_BROKEN|does not open/)
    const count = [...strict.seen.values()].reduce((sum, n) => sum + n, 0)
    return `${count} signatures of ${strict.seen.size} keys, each by a published one`
  },
}

export const OWN_KEY_ROWS: readonly Row[] = [signing]
