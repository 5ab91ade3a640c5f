import { CAEP, RISC, SSF } from '../../src/secevent/event-types.js'
import { sqlRows } from '../../src/storage/database.js'
import { waitUntil } from '../support/wait.js'
import { checkAgainstModel, type ModelRun } from './model/check-model.js'
import type { RealTransmitter } from './model/transmitter-commands.js'
import type { ModelReceiver } from './model/transmitter-model.js'
import { openTwoHubsWorld, type TwoHubsWorld } from './two-hubs-world.js'

/** None loosens access: that a newer tightening event overtakes a loosening one is test/order's matter. */
const TYPES = [CAEP.sessionRevoked, CAEP.sessionEstablished, RISC.optIn]
const RECEIVERS: readonly ModelReceiver[] = [
  { defaultSubjects: 'ALL', granted: TYPES },
  { defaultSubjects: 'NONE', granted: TYPES },
  { defaultSubjects: 'ALL', granted: [CAEP.sessionRevoked] },
]
/** Few, each of which waits for two processes; test/spec/transmitter-model.db.test.ts has many. */
const RUNS = 8
const TIME_LIMIT_MS = 60_000

describe('SSF 1.0 §8.1 against a model of it, two hubs behind one address', function () {
  this.timeout(120_000)
  let world: TwoHubsWorld
  let eventTimestamp = 1_790_000_000
  before(async () => {
    world = await openTwoHubsWorld()
  })

  it('sends each stream exactly what it owes, in order, held while paused and dropped when disabled, asked in turn (property)', async () => {
    await checkAgainstModel(openRun, {
      types: TYPES,
      receivers: RECEIVERS,
      numRuns: RUNS,
      timeLimitMs: TIME_LIMIT_MS,
    })
  })

  /** Until all that the two have taken is owed to whom it concerns; nobody else calls them meanwhile. */
  const fannedOut = () =>
    waitUntil('the log is empty', async () => {
      const open = await sqlRows(world.hubs.db, 'select 1 from event_log where not relay limit 1')
      return open.length === 0
    })

  /** What the hubs have said of their streams. @returns txns */
  async function ownTxns(): Promise<string[]> {
    const rows = await sqlRows<{ txn: string }>(
      world.hubs.db,
      'select txn from events where type in (?, ?)',
      [SSF.verification, SSF.streamUpdated],
    )
    return rows.map(({ txn }) => txn)
  }

  async function openRun(): Promise<ModelRun> {
    const receivers = await Promise.all(
      RECEIVERS.map(({ defaultSubjects, granted }) =>
        world.addReceiver({ default_subjects: defaultSubjects, grants: { event_types: granted } }),
      ),
    )
    await fannedOut()
    const known = new Set(await ownTxns())
    const real: RealTransmitter = {
      async call(receiver, method, path, body) {
        const api = receivers[receiver]?.door
        if (!api) throw new Error(`no receiver ${receiver}`)
        const { status, body: answer } = await api.ask(method.toUpperCase(), path, body)
        return { status, body: answer }
      },
      async happen(type, subject) {
        // One fact is told once.
        eventTimestamp += 1
        const body = { type, sub_id: subject, event: {}, event_timestamp: eventTimestamp }
        const { txn } = await world.admin.door.call<{ txn: string }>('POST', '/v1/events', body)
        await fannedOut()
        return txn
      },
      async operate(streamId, status) {
        const what = status === 'enabled' ? 'enable' : 'pause'
        await world.admin.door.call('POST', `/v1/streams/${streamId}/${what}`, {})
      },
      async settleOwn() {
        await fannedOut()
        const fresh = (await ownTxns()).filter((txn) => !known.has(txn))
        for (const txn of fresh) known.add(txn)
        return fresh
      },
    }
    const forget = async () => {
      for (const { id } of receivers) await world.admin.door.call('DELETE', `/v1/receivers/${id}`)
    }
    return { real, forget }
  }
})
