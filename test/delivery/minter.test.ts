import assert from 'node:assert/strict'
import { createMinter } from '../../src/delivery/minter.js'
import { CAEP } from '../../src/secevent/event-types.js'
import { RENDERING } from '../../src/secevent/render-event.js'

const delivery = {
  streamId: 's',
  eventId: 'e',
  receiverId: 'r',
  shard: 0,
  lane: 'urgent',
  type: CAEP.sessionRevoked,
  effect: 'tightens',
  sourceId: 'source',
  txn: 't',
  orderKey: '',
  acceptedAtMs: 1_790_000_000_000,
  rendering: RENDERING.plain,
  attempts: 0,
  queuedAtMs: 0,
} as const
const content = { subject: { format: 'email', email: 'ann@example.com' }, claims: {} }
const receiver = { audience: 'a', alg: 'RS256' } as const

describe('minter', () => {
  function open() {
    const signed: object[] = []
    const minter = createMinter({
      issuer: 'https://hub.example',
      signer: (alg) => ({
        kid: alg,
        alg,
        async sign(claims) {
          signed.push(claims)
          return JSON.stringify(claims)
        },
      }),
      jtis: { mint: (event: string, to: string) => `${event} ${to}`, read: () => undefined } as never,
    })
    return { minter, signed }
  }

  it('signs a SET once for all streams of a receiver, and anew for another rendering of it', async () => {
    const { minter, signed } = open()
    const plain = await minter.mint(delivery, content, receiver)
    assert.equal(await minter.mint({ ...delivery, streamId: 'other' }, content, receiver), plain)
    assert.equal(signed.length, 1)
    const interop = { ...delivery, rendering: RENDERING.caepInterop }
    assert.notEqual(await minter.mint(interop, content, receiver), plain)
    assert.equal(signed.length, 2)
  })

  it('signs nothing that its rendering has no form for', async () => {
    const { minter, signed } = open()
    const interop = { ...delivery, rendering: RENDERING.caepInterop }
    const opaque = { subject: { format: 'opaque', id: 'x' }, claims: {} }
    assert.match(minter.refusalOf(interop, opaque) ?? '', /format opaque/)
    await assert.rejects(minter.mint(interop, opaque, receiver))
    assert.equal(minter.refusalOf(delivery, opaque), undefined)
    assert.deepEqual(signed, [])
  })
})
