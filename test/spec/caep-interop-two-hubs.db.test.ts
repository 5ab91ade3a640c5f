import assert from 'node:assert/strict'
import { createPublicKey, randomUUID, verify } from 'node:crypto'
import { CAEP, SSF } from '../../src/secevent/event-types.js'
import { waitUntil } from '../support/wait.js'
import {
  type Caller,
  claimsOf,
  headerOf,
  openTwoHubsWorld,
  type SetClaims,
  type TwoHubsWorld,
} from './two-hubs-world.js'

interface Client {
  readonly client_id: string
  readonly client_secret: string
}

describe('CAEP interoperability profile: a receiver of profile caep-interop at two hubs', function () {
  this.timeout(120_000)
  let world: TwoHubsWorld
  let receiver: Caller
  let stream: string
  before(async () => {
    world = await openTwoHubsWorld()
    const settings = { name: randomUUID(), profile: 'caep-interop' }
    receiver = world.caller(
      await tokenOf(await world.admin.door.call<Client>('POST', '/v1/receivers', settings)),
    )
    stream = await world.addStream(receiver)
  })

  /** Its §2.7.1: none that an operator gives out. */
  async function tokenOf({ client_id, client_secret }: Client): Promise<string> {
    const answer = await fetch(`${world.hubs.url}/oauth/token`, {
      method: 'POST',
      headers: { authorization: `Basic ${Buffer.from(`${client_id}:${client_secret}`).toString('base64')}` },
      body: new URLSearchParams({ grant_type: 'client_credentials', scope: 'ssf.manage' }),
    })
    assert.equal(answer.status, 200)
    return ((await answer.json()) as { access_token: string }).access_token
  }

  /** Handed out by one hub, acknowledged at the other. */
  async function next(at: 0 | 1, isIt: (claims: SetClaims) => boolean): Promise<string> {
    const set = await waitUntil('the SET', async () =>
      (await world.poll(receiver.at[at], stream)).find((one) => isIt(claimsOf(one))),
    )
    await world.acknowledge(receiver.at[at === 0 ? 1 : 0], stream, [set])
    return set
  }

  async function assertSigned(set: string): Promise<void> {
    const { alg, kid } = headerOf(set)
    assert.equal(alg, 'RS256')
    const [header, payload, signature = ''] = set.split('.')
    for (const url of world.hubs.directUrls) {
      const { keys } = (await (await fetch(`${url}/ssf/jwks.json`)).json()) as { keys: { kid: string }[] }
      const key = createPublicKey({ key: keys.find((one) => one.kid === kid) as never, format: 'jwk' })
      assert.ok((key.asymmetricKeyDetails?.modulusLength ?? 0) >= 2048)
      assert.ok(
        verify('sha256', Buffer.from(`${header}.${payload}`), key, Buffer.from(signature, 'base64url')),
      )
    }
  }

  for (const [one, other] of [
    [0, 1],
    [1, 0],
  ] as const) {
    it(`gets from hub ${other} what hub ${one} took: one event, a reason_admin, the user of a complex subject, RS256 (T-9, T-24, T-32)`, async () => {
      const user = { format: 'email', email: `${randomUUID()}@example.com` }
      const device = { format: 'opaque', id: randomUUID() }
      const txn = await world.emit(world.admin.at[one], {
        type: CAEP.sessionRevoked,
        subject: { format: 'complex', user, device },
      })
      const set = await next(other, (one) => one.txn === txn)
      const claims = claimsOf(set)
      assert.deepEqual([claims.txn, claims.sub_id, claims.iss], [txn, user, world.hubs.url])
      assert.deepEqual(Object.keys(claims.events), [CAEP.sessionRevoked])
      const reason = JSON.stringify(claims.events[CAEP.sessionRevoked]?.reason_admin)
      assert.match(reason, /^\{"en":"[a-z-]+; its source gave no reason"\}$/)
      await assertSigned(set)
    })

    it(`gets from hub ${other} the verification that it asked of hub ${one}, signed with RS256 (T-9)`, async () => {
      await receiver.at[one].call('POST', '/ssf/verify', { stream_id: stream, state: `at ${one}` })
      const set = await next(other, ({ events }) => SSF.verification in events)
      assert.deepEqual(claimsOf(set).events, { [SSF.verification]: { state: `at ${one}` } })
      await assertSigned(set)
    })
  }
})
