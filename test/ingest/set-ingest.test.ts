import assert from 'node:assert/strict'
import { createIssuerKeys } from '../../src/ingest/issuer-keys.js'
import { createSetIngest, type SetIngestOptions } from '../../src/ingest/set-ingest.js'
import { type Allowance, createSourceBudgets, type SourceBudgets } from '../../src/ingest/source-budget.js'
import { TooManyRequests, Unavailable } from '../../src/kernel/errors.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createMetrics } from '../../src/kernel/metrics.js'
import { RISC, SSF } from '../../src/secevent/event-types.js'
import { SetRejected } from '../../src/secevent/parse-set.js'
import { listLog, manualClock, setOf, transmitterOf } from './ingest-fixture.js'

describe('ingest: one SET of a known transmitter', () => {
  const log = listLog()
  const told: string[] = []
  let places: string[]
  let isFull: boolean

  function open(more: Partial<SetIngestOptions> = {}) {
    const clock = manualClock()
    const outgoing = { request: () => assert.fail('a request left') }
    const keys = createIssuerKeys({ outgoing, clock, logger: silentLogger, metrics: createMetrics() })
    const aboutStream: SetIngestOptions['aboutStream'] = async (transmitter, { type }) => {
      assert.equal(log.events.length, 0, 'it runs before the event is stored')
      told.push(`${transmitter.name} ${type}`)
    }
    const ingest = createSetIngest({
      clock,
      keys,
      budgets: createSourceBudgets(clock),
      log,
      aboutStream,
      ...more,
    })
    return (set: string, transmitter = transmitterOf()) =>
      ingest(transmitter, Buffer.from(set), (lane) => {
        if (isFull) throw new Unavailable('The hub is at its limit.')
        places.push(`entered ${lane}`)
        return () => void places.push('left')
      })
  }
  beforeEach(() => {
    log.events.length = 0
    told.length = 0
    places = []
    isFull = false
  })

  const budgetsThatSay = (allowance: Allowance): SourceBudgets => ({
    take: () => allowance,
    giveBack: () => assert.fail('an allowance was given back'),
  })
  const verification = () =>
    setOf({ sub_id: { format: 'opaque', id: 's1' }, events: { [SSF.verification]: { state: 'x' } } })

  it('tells what a transmitter says about the stream there, and of no other event', async () => {
    const ingest = open()
    await ingest(setOf())
    assert.deepEqual(told, [])
    log.events.length = 0
    await ingest(verification())
    assert.deepEqual(told, [`idp ${SSF.verification}`])
    assert.equal(log.events.length, 1)
  })

  it('stores such an event also where the hub holds no streams', async () => {
    const { event } = await open({ aboutStream: undefined as never })(verification())
    assert.equal(event.type, SSF.verification)
  })

  it('stores nothing when what is said about the stream is refused, and gives the place back', async () => {
    const refusal = new SetRejected('invalid_state', 'Not what the hub asked for.')
    await assert.rejects(open({ aboutStream: () => Promise.reject(refusal) })(verification()), refusal)
    assert.equal(log.events.length, 0)
    assert.deepEqual(places, ['entered urgent', 'left'])
  })

  it('takes the place of the source when the signature holds, and not before', async () => {
    await assert.rejects(open()(setOf({ iss: 'https://evil.example' })), SetRejected)
    assert.deepEqual(places, [])
    await open()(setOf())
    assert.deepEqual(places, ['entered urgent', 'left'])
  })

  it('asks to come back in a second past the budget, and while the stream is being set up', async () => {
    const isLater = (kind: typeof Unavailable | typeof TooManyRequests) => (error: unknown) =>
      error instanceof kind && error.retryAfterS === 1
    await assert.rejects(open({ budgets: budgetsThatSay('spent') })(setOf()), isLater(TooManyRequests))
    await assert.rejects(open()(setOf(), transmitterOf({ audience: [] })), isLater(Unavailable))
    assert.equal(log.events.length, 0)
  })

  it('charges a source nothing for a SET that finds no place', async () => {
    const ingest = open()
    const source = transmitterOf({ budgetPerS: 1 })
    isFull = true
    for (let attempt = 0; attempt < 20; attempt += 1)
      await assert.rejects(ingest(setOf(), source), Unavailable)
    isFull = false
    assert.equal((await ingest(setOf(), source)).event.lane, 'urgent')
  })

  it('takes the urgent lane for a type that its source names urgent, and changes nothing else of it', async () => {
    const enabled = () => setOf({ events: { [RISC.accountEnabled]: {} } })
    const urgent = transmitterOf({ urgentTypes: [RISC.accountEnabled] })
    const usual = (await open()(enabled())).event
    const { event } = await open()(enabled(), urgent)
    assert.deepEqual([usual.lane, usual.effect], ['routine', 'loosens'])
    assert.deepEqual([event.lane, event.effect], ['urgent', 'loosens'])
    // It only raises: what tightens is urgent from any source, named or not.
    assert.equal((await open()(setOf(), urgent)).event.lane, 'urgent')
    const past = await open({ budgets: budgetsThatSay('over') })(enabled(), urgent)
    assert.deepEqual([past.event.lane, past.overBudget], ['routine', true])
    const entered = places.filter((each) => each !== 'left')
    assert.deepEqual(
      entered,
      ['routine', 'urgent', 'urgent', 'routine'].map((lane) => `entered ${lane}`),
    )
  })

  it('sets aside an odd event of such a type like any other', async () => {
    const type = 'https://example.com/events/badge'
    const { event } = await open()(setOf({ events: { [type]: {} } }), transmitterOf({ urgentTypes: [type] }))
    assert.deepEqual([event.lane, event.quarantine], ['routine', 'unknown_type'])
  })

  it('says whether the source was past its first bound', async () => {
    assert.equal((await open()(setOf())).overBudget, false)
    assert.equal((await open({ budgets: budgetsThatSay('over') })(setOf())).overBudget, true)
  })
})
