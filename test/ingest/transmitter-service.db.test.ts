import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { hashSecret } from '../../src/auth/secrets.js'
import type { StreamPlan, StreamWish, UpstreamStreams } from '../../src/ingest/stream-plan.js'
import {
  createTransmitterService,
  type NewTransmitter,
  type TransmitterService,
} from '../../src/ingest/transmitter-service.js'
import { Conflict, InvalidRequest, NotFound } from '../../src/kernel/errors.js'
import { createOutgoing, type Outgoing } from '../../src/outgoing/outgoing.js'
import { BUILT_IN_EVENT_TYPES, CAEP, RISC, SSF } from '../../src/secevent/event-types.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'
import { AUDIENCE, ec, ISSUER, publicJwk, rsa } from './ingest-fixture.js'

const JWKS = { keys: [publicJwk(rsa.publicKey, { kid: 'k1', alg: 'RS256' })] }
const WELL_KNOWN = '/.well-known/ssf-configuration'
const PUSH: StreamPlan = { method: 'push', credentials: { token: 'canary' } }
const POLL: StreamPlan = { method: 'poll', eventsRequested: ['a'], credentials: { token: 'canary' } }

describe('ingest: the service of transmitters', () => {
  let test: TestDatabase
  let idp: Server
  let idpUrl: string
  let outgoing: Outgoing
  let transmitters: TransmitterService
  let asked: string[]
  /** What the streams and the registry were told, in order. */
  let told: string[]
  let wishes: Omit<StreamWish, 'transmitterId'>[]
  let audited: { action: string; detail: object }[]
  let pushHeader: string | undefined
  let refusal: Error | undefined
  let names = 0

  before(async () => {
    test = await createTestDatabase()
    idp = createServer((req, res) => {
      asked.push(req.url ?? '')
      const path = req.url?.replace(WELL_KNOWN, '')
      res.end(JSON.stringify({ issuer: idpUrl + path, jwks_uri: `${idpUrl}/keys${path}` }))
    })
    await new Promise<void>((resolve) => idp.listen(0, '127.0.0.1', resolve))
    idpUrl = `http://127.0.0.1:${(idp.address() as AddressInfo).port}`
    outgoing = createOutgoing({ allowedNetworks: ['127.0.0.1/32'] })
  })
  after(async () => {
    await outgoing.close()
    idp.closeAllConnections()
    idp.close()
    await test.close()
  })
  beforeEach(() => {
    asked = []
    told = []
    wishes = []
    audited = []
    pushHeader = undefined
    refusal = undefined
    const streams: UpstreamStreams = {
      async check(plan, found) {
        told.push(`check ${plan.method} ${found.metadataUrl.replace(idpUrl, '')}`)
        if (refusal) throw refusal
      },
      async put(_trx, { transmitterId: _id, ...wish }) {
        told.push('put')
        wishes.push(wish)
        return pushHeader
      },
      async leave(_trx, id) {
        told.push(`leave ${id}`)
      },
      requestVerification: async () => pushHeader !== undefined,
      views: () => assert.fail('nobody looks'),
      wake: () => void told.push('wake'),
    }
    transmitters = createTransmitterService({
      db: test.db,
      outgoing,
      streams,
      eventTypes: BUILT_IN_EVENT_TYPES,
      audit: {
        async record(_trx, { action, detail = {} }) {
          audited.push({ action, detail })
        },
      },
      async changed() {
        told.push('changed')
      },
    })
  })

  const pinned = (more: Partial<NewTransmitter> = {}): NewTransmitter => {
    names += 1
    return { name: `idp-${names}`, issuer: ISSUER, audience: [AUDIENCE], jwks: JWKS, ...more }
  }
  /** Discovered, without an audience of its own. */
  const discovered = (more: Partial<NewTransmitter> = {}): NewTransmitter => {
    names += 1
    return { name: `idp-${names}`, discover: `${idpUrl}/t${names}`, ...more }
  }
  const create = (input: NewTransmitter) => transmitters.create(input, 'operator:ann')
  const update = (id: string, change: Parameters<TransmitterService['update']>[1]) =>
    transmitters.update(id, change, 'operator:ann')
  const refusedWith = (says: RegExp) => (error: unknown) =>
    error instanceof InvalidRequest && says.test(error.message)

  it('takes the issuer from what was discovered, and keeps where that was', async () => {
    const made = await create(discovered({ audience: [AUDIENCE] }))
    const path = made.issuer.replace(idpUrl, '')
    assert.match(path, /^\/t\d+$/)
    assert.equal(made.discover, idpUrl + WELL_KNOWN + path)
    assert.equal(made.jwksUri, `${idpUrl}/keys${path}`)
    assert.deepEqual(told, ['changed'])
    assert.deepEqual(await transmitters.get(made.id), made)
  })

  it('needs an issuer and an audience where neither discovery nor a stream gives one', async () => {
    const { issuer: _issuer, ...anonymous } = pinned()
    await assert.rejects(create(anonymous), refusedWith(/issuer is required/))
    const { audience: _audience, ...unaddressed } = pinned()
    await assert.rejects(create(unaddressed), refusedWith(/audience is required/))
    await assert.rejects(create(discovered()), refusedWith(/audience is required/))
    assert.deepEqual(told, [])
  })

  it('asks for a stream once its transmitter is checked, and wakes it after the commit', async () => {
    pushHeader = 'Bearer made'
    const made = await create(discovered({ stream: PUSH }))
    const path = made.issuer.replace(idpUrl, '')
    assert.deepEqual(told, [`check push ${WELL_KNOWN}${path}`, 'put', 'changed', 'wake'])
    assert.deepEqual(wishes, [{ issuer: made.issuer, metadataUrl: made.discover, plan: PUSH }])
    assert.deepEqual(made.audience, [])
    assert.deepEqual(made.authorizationHash, hashSecret('Bearer made'))
    const { name, issuer } = made
    const detail = { name, issuer, version: 1, stream: { method: 'push' } }
    assert.deepEqual(audited, [{ action: 'transmitter.created', detail }])
  })

  it('hands the audience and the header of the operator on to the stream', async () => {
    pushHeader = 'Bearer own'
    const made = await create(
      discovered({ stream: PUSH, audience: [AUDIENCE], authorizationHeader: 'Bearer own' }),
    )
    assert.deepEqual(wishes, [
      {
        issuer: made.issuer,
        metadataUrl: made.discover,
        audience: [AUDIENCE],
        authorizationHeader: 'Bearer own',
        plan: PUSH,
      },
    ])
    assert.deepEqual(made.audience, [AUDIENCE])
  })

  it('keeps the check of the header as it is when the stream brings none', async () => {
    const made = await create(discovered({ stream: POLL, authorizationHeader: 'Bearer own' }))
    assert.deepEqual(made.authorizationHash, hashSecret('Bearer own'))
    assert.equal(
      (await update(made.id, { stream: POLL, authorizationHeader: null })).authorizationHash,
      undefined,
    )
    assert.equal(wishes.length, 2)
    assert.ok(!('authorizationHeader' in (wishes[1] ?? {})))
  })

  it('makes nothing when the stream is refused, or has no metadata', async () => {
    refusal = new InvalidRequest('No such method.')
    const input = discovered({ stream: PUSH })
    await assert.rejects(create(input), refusal)
    assert.equal(told.length, 1)
    await assert.rejects(create(pinned({ stream: PUSH })), refusedWith(/give discover/))
    assert.equal(told.length, 1)
    assert.ok(!(await transmitters.list({ limit: 1_000 })).some(({ name }) => name === input.name))
  })

  it('adds a stream by the metadata that it knows, or by new ones', async () => {
    const made = await create(discovered({ audience: [AUDIENCE] }))
    for (const change of [{ stream: POLL }, { stream: POLL, discover: made.issuer }]) {
      told.length = wishes.length = asked.length = audited.length = 0
      const changed = await update(made.id, change)
      assert.deepEqual(asked, [made.discover?.replace(idpUrl, '')])
      assert.deepEqual(told, [`check poll ${asked[0]}`, 'put', 'changed', 'wake'])
      assert.deepEqual(wishes, [{ issuer: made.issuer, metadataUrl: made.discover, plan: POLL }])
      assert.equal(changed.discover, made.discover)
      const detail = {
        name: made.name,
        issuer: made.issuer,
        version: changed.version,
        changed: Object.keys(change),
        stream: { method: 'poll', events: ['a'] },
      }
      assert.deepEqual(audited, [{ action: 'transmitter.updated', detail }])
    }
  })

  it('adds no stream where keys are given by hand', async () => {
    const { id } = await create(pinned())
    const other = await create(discovered({ audience: [AUDIENCE] }))
    told.length = 0
    await assert.rejects(update(id, { stream: PUSH }), refusedWith(/give discover/))
    await assert.rejects(update(other.id, { stream: PUSH, jwks: JWKS }), refusedWith(/give discover/))
    refusal = new InvalidRequest('No such method.')
    await assert.rejects(update(other.id, { stream: PUSH }), refusal)
    assert.deepEqual(
      told.filter((what) => !what.startsWith('check')),
      [],
    )
  })

  it('wakes the streams for what concerns them alone', async () => {
    const { id } = await create(discovered({ audience: [AUDIENCE] }))
    asked.length = 0
    const changes: [change: Parameters<typeof update>[1], told: string[]][] = [
      [{ budgetPerS: 7 }, ['changed']],
      [{ enabled: false }, ['changed', 'wake']],
      [{ stream: null }, [`leave ${id}`, 'changed', 'wake']],
    ]
    for (const [change, expected] of changes) {
      told.length = 0
      await update(id, change)
      assert.deepEqual(told, expected, JSON.stringify(change))
    }
    // Nobody is asked for metadata that no stream needs.
    assert.deepEqual(asked, [])
    told.length = audited.length = 0
    const { name, issuer, version } = await transmitters.get(id)
    await transmitters.remove(id, 'operator:ann')
    assert.deepEqual(told, [`leave ${id}`, 'changed', 'wake'])
    assert.deepEqual(audited, [{ action: 'transmitter.deleted', detail: { name, issuer, version } }])
  })

  it('asks for a verification only where the hub holds a stream', async () => {
    const { id } = await create(pinned())
    told.length = audited.length = 0
    await assert.rejects(transmitters.verify(id, 'operator:ann'), Conflict)
    await assert.rejects(transmitters.verify(crypto.randomUUID(), 'operator:ann'), NotFound)
    assert.deepEqual([told, audited], [[], []])
    pushHeader = 'Bearer made'
    await transmitters.verify(id, 'operator:ann')
    assert.deepEqual(told, ['wake'])
    assert.equal(audited[0]?.action, 'transmitter.verification_requested')
  })

  it('keeps what a change does not name, and takes away what it sets to nothing', async () => {
    const receiverId = crypto.randomUUID()
    const all = {
      algorithms: ['ES256'],
      tolerances: { allowSub: true },
      budgetPerS: 7,
      urgentTypes: [RISC.accountEnabled],
      enabled: false,
      receiverId,
      authorizationHeader: 'Bearer own',
    }
    const made = await create(pinned(all))
    const { authorizationHeader: _header, ...shown } = all
    const expected = { ...made, ...shown, authorizationHash: hashSecret('Bearer own') }
    assert.deepEqual(made, expected)
    const renamed = await update(made.id, { name: `${made.name}-b` })
    const { updatedAt } = renamed
    assert.deepEqual(renamed, { ...expected, name: `${made.name}-b`, version: 2, updatedAt })
    const bare = await update(made.id, { receiverId: null, authorizationHeader: null, tolerances: {} })
    assert.ok(!('receiverId' in bare) && !('authorizationHash' in bare))
    assert.deepEqual(bare.tolerances, {})
    const other = crypto.randomUUID()
    assert.equal((await update(made.id, { receiverId: other })).receiverId, other)
  })

  it('has the usual algorithms, tolerances and budget when none are named', async () => {
    const { algorithms, tolerances, budgetPerS, urgentTypes, enabled } = await create(pinned())
    assert.deepEqual(
      { algorithms, tolerances, budgetPerS, urgentTypes, enabled },
      {
        algorithms: ['RS256'],
        tolerances: {},
        budgetPerS: 200,
        urgentTypes: [],
        enabled: true,
      },
    )
  })

  it('takes as urgent what the hub knows, and refuses what it does not, or always sends so', async () => {
    const made = await create(pinned({ urgentTypes: [RISC.accountEnabled, CAEP.sessionEstablished] }))
    assert.deepEqual(audited.at(-1)?.detail, {
      name: made.name,
      issuer: made.issuer,
      version: 1,
      urgent_types: [RISC.accountEnabled, CAEP.sessionEstablished],
    })
    const { id } = made
    for (const unknown of ['https://example.com/events/badge', 'account-enabled', SSF.verification]) {
      const urgentTypes = [RISC.optIn, unknown]
      const refusal = refusedWith(new RegExp(`^urgent_types: ${unknown} `))
      await assert.rejects(update(id, { urgentTypes }), refusal)
      await assert.rejects(create(pinned({ urgentTypes })), refusal)
    }
    assert.deepEqual(await transmitters.get(id), made)
    assert.deepEqual((await update(id, { urgentTypes: [] })).urgentTypes, [])
    assert.deepEqual(audited.at(-1), {
      action: 'transmitter.updated',
      detail: {
        name: made.name,
        issuer: made.issuer,
        version: 2,
        changed: ['urgentTypes'],
        urgent_types: [],
      },
    })
  })

  it('refuses a private or symmetric key wherever it stands, by each of its members', async () => {
    const ecPrivate = publicJwk(ec.privateKey, { kid: 'k2', alg: 'ES256' })
    const marked = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'k'].map((member) => ({
      ...JWKS.keys[0],
      [member]: 'AQ',
    }))
    for (const key of [ecPrivate, ...marked]) {
      const jwks = { keys: [...JWKS.keys, key] }
      await assert.rejects(create(pinned({ jwks })), refusedWith(/private or symmetric/), JSON.stringify(key))
    }
  })

  describe('beside another change', () => {
    /** Runs `work` while another transaction holds the row, which commits `statement` once the work waits for it. */
    async function during<T>(id: string, statement: string, work: () => Promise<T>): Promise<T> {
      const other = await test.db.transaction()
      await other.raw('select 1 from transmitters where id = ? for update', [id])
      const working = work()
      working.catch(() => {})
      await waitUntil('the work to wait', async () => {
        const { rows } = await test.db.raw(
          `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
        )
        return rows.length > 0
      })
      await other.raw(statement, [id])
      await other.commit()
      return await working
    }

    it('loses nothing of what that one wrote', async () => {
      const { id, name } = await create(pinned())
      const slower = 'update transmitters set budget_per_s = 7 where id = ?'
      const changed = await during(id, slower, () => update(id, { name: `${name}-b` }))
      assert.equal(changed.budgetPerS, 7)
      assert.equal(changed.name, `${name}-b`)
    })

    it('says that there is no transmitter when that one deleted it', async () => {
      const gone = 'delete from transmitters where id = ?'
      for (const work of [
        (id: string): Promise<unknown> => update(id, { budgetPerS: 7 }),
        (id: string) => transmitters.remove(id, 'operator:ann'),
        (id: string) => transmitters.verify(id, 'operator:ann'),
      ]) {
        pushHeader = 'Bearer made'
        const { id } = await create(pinned())
        told.length = audited.length = 0
        await assert.rejects(
          during(id, gone, () => work(id)),
          NotFound,
        )
        assert.deepEqual([told, audited], [[], []])
      }
    })
  })
})
