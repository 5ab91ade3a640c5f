import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { CAEP } from '../../src/secevent/event-types.js'
import { claimsOf, openTwoHubsWorld, type TwoHubsWorld, type WorldReceiver } from './two-hubs-world.js'

type Id = { readonly format: string; readonly [member: string]: unknown }

/** Of nobody else: suites share the two hubs. */
interface People {
  readonly user: Id
  readonly other: Id
  readonly tenant: Id
  readonly device: Id
}

interface Case {
  readonly title: string
  readonly added: (of: People) => Id
  readonly event: (of: People) => Id
  readonly matches: boolean
}

const complex = (members: Record<string, Id>): Id => ({ format: 'complex', ...members })
const aliases = (...identifiers: Id[]): Id => ({ format: 'aliases', identifiers })
const upper = ({ email }: Id): Id => ({
  format: 'email',
  email: String(email).replace(/@.*/, '@EXAMPLE.COM'),
})

const CASES: readonly Case[] = [
  {
    title: 'a simple subject and the same (T-34)',
    added: (p) => p.user,
    event: (p) => p.user,
    matches: true,
  },
  {
    title: 'an address and it with its domain in capitals (T-34)',
    added: (p) => p.user,
    event: (p) => upper(p.user),
    matches: true,
  },
  {
    title: 'a simple subject and another (T-34)',
    added: (p) => p.user,
    event: (p) => p.other,
    matches: false,
  },
  {
    title: 'a simple subject and its text in another format (T-34)',
    added: (p) => p.user,
    event: (p) => ({ format: 'opaque', id: p.user.email }),
    matches: false,
  },
  {
    title: 'less than the event says (T-35)',
    added: ({ tenant }) => complex({ tenant }),
    event: ({ tenant, user }) => complex({ tenant, user }),
    matches: true,
  },
  {
    title: 'more than the event says (T-35)',
    added: ({ user, device }) => complex({ user, device }),
    event: ({ user }) => complex({ user }),
    matches: true,
  },
  {
    title: 'two complex subjects, one member the same and one not (T-35)',
    added: ({ tenant, user }) => complex({ tenant, user }),
    event: ({ tenant, other }) => complex({ tenant, user: other }),
    matches: false,
  },
  {
    title: 'two complex subjects without a common member (T-36)',
    added: ({ user }) => complex({ user }),
    event: ({ device }) => complex({ device }),
    matches: false,
  },
  {
    title: 'a simple subject and a complex one of it (T-37)',
    added: (p) => p.user,
    event: ({ user }) => complex({ user }),
    matches: false,
  },
  {
    title: 'a complex subject and the simple one in it (T-37)',
    added: ({ user }) => complex({ user }),
    event: (p) => p.user,
    matches: false,
  },
  {
    title: 'aliases and the same in another order (T-37)',
    added: (p) => aliases(p.user, p.other),
    event: (p) => aliases(p.other, p.user),
    matches: true,
  },
  {
    title: 'aliases and some of them (T-37)',
    added: (p) => aliases(p.user, p.other),
    event: (p) => aliases(p.user),
    matches: false,
  },
  {
    title: 'aliases and one of them alone (T-37)',
    added: (p) => aliases(p.user, p.other),
    event: (p) => p.user,
    matches: false,
  },
]

describe('SSF 1.0 §8.1.3.1 subject matching, two hubs on one database', function () {
  this.timeout(120_000)
  let world: TwoHubsWorld
  /** Takes what was added. */
  let chooser: WorldReceiver
  /** Takes all but what was removed. */
  let rest: WorldReceiver
  before(async () => {
    world = await openTwoHubsWorld()
    chooser = await world.addReceiver({ default_subjects: 'NONE' })
    rest = await world.addReceiver({ default_subjects: 'ALL' })
  })

  function people(): People {
    const email = (name: string): Id => ({ format: 'email', email: `${name}-${randomUUID()}@example.com` })
    const opaque = (): Id => ({ format: 'opaque', id: randomUUID() })
    return { user: email('user'), other: email('other'), tenant: opaque(), device: opaque() }
  }

  for (const { title, added, event, matches } of CASES) {
    it(`${matches ? 'matches' : 'does not match'} ${title}, added at one, emitted at the other, polled at either`, async () => {
      for (const [one, other] of [
        [0, 1],
        [1, 0],
      ] as const) {
        const of = people()
        const id = await world.addStream(chooser)
        await chooser.at[one].call('POST', '/ssf/subjects/add', { stream_id: id, subject: added(of) })
        const all = await world.addStream(rest)
        const txn = await world.emit(world.admin.at[other], { type: CAEP.sessionRevoked, subject: event(of) })
        // One fan-out is for all streams: when this one has the event, the other was asked about it.
        await world.queued(txn, all)
        for (const at of chooser.at) {
          const txns = (await world.poll(at, id)).map((set) => claimsOf(set).txn)
          assert.deepEqual(txns, matches ? [txn] : [])
        }
      }
    })
  }

  it('takes a subject off at one for what is emitted at the other (T-66)', async () => {
    const { user } = people()
    const [excluding, all] = [await world.addStream(rest), await world.addStream(rest)]
    const choosing = await world.addStream(chooser)
    await chooser.at[0].call('POST', '/ssf/subjects/add', { stream_id: choosing, subject: user })
    await chooser.at[1].call('POST', '/ssf/subjects/remove', { stream_id: choosing, subject: user })
    await rest.at[0].call('POST', '/ssf/subjects/remove', { stream_id: excluding, subject: user })
    const txn = await world.emit(world.admin.at[1], { type: CAEP.sessionRevoked, subject: user })
    await world.queued(txn, all)
    assert.deepEqual(await world.poll(chooser.at[0], choosing), [])
    assert.deepEqual(await world.poll(rest.at[0], excluding), [])
  })
})
