import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { CAEP } from '../../src/secevent/event-types.js'
import { type Sink, startSink } from '../delivery/delivery-harness.js'
import type { HubApi } from '../support/hub-api.js'
import { waitUntil } from '../support/wait.js'
import {
  claimsOf,
  openTwoHubsWorld,
  type SetClaims,
  type TwoHubsWorld,
  type WorldReceiver,
} from './two-hubs-world.js'

const credential = (change_type: string) => ({
  type: CAEP.credentialChange,
  claims: { credential_type: 'password', change_type },
})
/** Neutral and routine, one that tightens and is urgent, one that loosens. */
const CREATE = credential('create')
const REVOKE = credential('revoke')
const ESTABLISHED = { type: CAEP.sessionEstablished, claims: {} }
const COMPLIANT = {
  type: CAEP.deviceComplianceChange,
  claims: { previous_status: 'not-compliant', current_status: 'compliant' },
}
const SUBJECTS = 3
/** More polls of one SET than are needed, notices of the pause included. */
const TURNS = 10

/** Stops the stream at one hub and starts it at another. */
interface Switch {
  pause(at: 0 | 1): Promise<unknown>
  enable(at: 0 | 1): Promise<unknown>
}

describe('SSF 1.0 §8.1.2.1 order of what was held while paused, two hubs on one database', function () {
  this.timeout(120_000)
  let world: TwoHubsWorld
  let receiver: WorldReceiver
  let sink: Sink
  before(async () => {
    world = await openTwoHubsWorld()
    receiver = await world.addReceiver()
  })
  beforeEach(async () => {
    sink = await startSink()
  })
  afterEach(() => sink.close())

  const addPush = () =>
    world.addStream(receiver, { delivery: { method: 'urn:ietf:rfc:8935', endpoint_url: sink.url } })

  function switchOf(who: string, id: string): Switch {
    const set = (at: 0 | 1, status: string) =>
      receiver.at[at].call('POST', '/ssf/status', { stream_id: id, status })
    const operate = (at: 0 | 1, what: string) =>
      world.admin.at[at].call('POST', `/v1/streams/${id}/${what}`, {})
    return who === 'an operator'
      ? { pause: (at) => operate(at, 'pause'), enable: (at) => operate(at, 'enable') }
      : { pause: (at) => set(at, 'paused'), enable: (at) => set(at, 'enabled') }
  }

  /** Each event at the other hub, of one subject; resolves once the stream owes all. @returns their txns */
  async function hold(id: string, events: readonly { type: string; claims: object }[]): Promise<string[]> {
    const subject = { format: 'email', email: `${randomUUID()}@example.com` }
    const txns: string[] = []
    for (const [index, event] of events.entries()) {
      const txn = await world.emit(world.admin.at[index % 2] as HubApi, { ...event, subject })
      // What two hubs take at the same time has no order.
      await world.queued(txn, id)
      txns.push(txn)
    }
    return txns
  }

  const pushedClaims = () => sink.received.map(({ claims }) => claims)
  const known = (claims: readonly { txn: string }[], held: readonly string[]) =>
    claims.map(({ txn }) => txn).filter((txn) => held.includes(txn))

  for (const who of ['the receiver', 'an operator']) {
    for (const [first, second] of [
      [0, 1],
      [1, 0],
    ] as const) {
      it(`pushes a creation before the later revocation of its subject when ${who} pauses at hub ${first} and goes on at hub ${second} (T-61, T-88)`, async () => {
        const id = await addPush()
        const stream = switchOf(who, id)
        await stream.pause(first)
        const held: string[][] = []
        for (let n = 0; n < SUBJECTS; n += 1) held.push(await hold(id, [CREATE, REVOKE, ESTABLISHED]))
        assert.deepEqual(known(pushedClaims(), held.flat()), [])
        await stream.enable(second)
        const pushed = (txns: readonly string[]) => known(pushedClaims(), txns)
        await waitUntil('all', () => pushed(held.flat()).length >= held.flat().length)
        for (const txns of held) assert.deepEqual(pushed(txns), txns)
      })

      it(`gives polls a creation before the later revocation of its subject when ${who} pauses at hub ${first} and goes on at hub ${second} (T-61, T-97)`, async () => {
        const id = await world.addStream(receiver)
        const stream = switchOf(who, id)
        await stream.pause(first)
        const held = await hold(id, [CREATE, REVOKE, ESTABLISHED])
        for (const at of receiver.at)
          assert.deepEqual(known((await world.poll(at, id)).map(claimsOf), held), [])
        await stream.enable(second)
        const got: SetClaims[] = []
        for (let turn: number = first; turn < TURNS && known(got, held).length < held.length; turn += 1) {
          const sets = await world.poll(receiver.at[turn % 2] as HubApi, id, 1)
          await world.acknowledge(receiver.at[(turn + 1) % 2] as HubApi, id, sets)
          got.push(...sets.map(claimsOf))
        }
        assert.deepEqual(known(got, held), held)
      })
    }
  }

  it('leaves out an all-clear that a later event has cancelled at the other hub', async () => {
    const id = await addPush()
    const stream = switchOf('the receiver', id)
    await stream.pause(0)
    const held = await hold(id, [COMPLIANT, CREATE, REVOKE])
    await stream.enable(1)
    const states = async () => {
      const all = held.map(async (txn) => {
        const path = `/v1/deliveries?txn=${txn}&stream_id=${id}`
        const { items } = await world.admin.door.call<{ items: { state: string }[] }>('GET', path)
        return items[0]?.state
      })
      return await Promise.all(all)
    }
    await waitUntil(
      'all results',
      async () => !(await states()).some((it) => it === 'queued' || it === 'delivered'),
    )
    assert.deepEqual((await states()).slice(1), ['received', 'received'])
    assert.deepEqual(known(pushedClaims(), held), held.slice(1))
  })
})
