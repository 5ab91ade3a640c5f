import assert from 'node:assert/strict'
import fc from 'fast-check'
import {
  type ModelDue,
  type ModelReceiver,
  type ModelStatus,
  type ModelSubject,
  principalOf,
  type TransmitterModel,
} from './transmitter-model.js'

/** The hub as a receiver and an event's source know it. */
export interface RealTransmitter {
  /** One HTTP call by a receiver of the run. @returns status and parsed body */
  call(
    receiver: number,
    method: string,
    path: string,
    body?: object,
  ): Promise<{ status: number; body: unknown }>
  /** Resolves when every stream that takes the event owes it. @returns its txn */
  happen(type: string, subject: ModelSubject): Promise<string>
  /** Stops or starts a stream as an operator of the hub. */
  operate(streamId: string, status: 'enabled' | 'paused'): Promise<void>
  /** Resolves when what the hub had to say of its streams is owed. @returns the txns; what they say, their SETs show */
  settleOwn(): Promise<readonly string[]>
}

/** The receivers of a run, by number. */
export interface Run {
  readonly receivers: readonly ModelReceiver[]
  /** In the order of creation; ids of deleted ones stay away. */
  readonly streams: { readonly id: string; readonly receiver: number }[]
  states: number
}

export interface ModelWorld {
  readonly model: TransmitterModel
  readonly run: Run
}

type Command = fc.AsyncCommand<ModelWorld, RealTransmitter>

interface PollBody {
  sets: Record<string, string>
  moreAvailable?: boolean
}

const STATUSES: readonly ModelStatus[] = ['enabled', 'paused', 'disabled']
const email = (name: string, domain = 'example.com'): ModelSubject => ({
  format: 'email',
  email: `${name}@${domain}`,
})
const opaque = (id: string): ModelSubject => ({ format: 'opaque', id })

// So few that they often meet.
const user = fc.constantFrom(email('ann'), email('bob'), email('ann', 'EXAMPLE.com'))
const device = fc.constantFrom(opaque('d1'), opaque('d2'))
const subject: fc.Arbitrary<ModelSubject> = fc.oneof(
  { weight: 2, arbitrary: user },
  {
    weight: 3,
    arbitrary: fc
      .record({ user, device, tenant: fc.constant(opaque('t')) }, { requiredKeys: [] })
      .filter((members) => Object.keys(members).length > 0)
      .map((members): ModelSubject => ({ format: 'complex', ...members })),
  },
)

/** Applies to the stream with this number, counted around. */
const pick = fc.nat(5)

export function transmitterCommands(types: readonly string[], receivers: number): fc.Arbitrary<Command>[] {
  const requested = fc.subarray([...types])
  const streamed = <T>(value: fc.Arbitrary<T>) => fc.tuple(pick, value)
  return [
    fc.tuple(fc.nat(receivers - 1), requested).map(([receiver, list]) => create(receiver, list)),
    streamed(requested).map(([n, list]) => onStream(n, 'request', list, request)),
    streamed(fc.constantFrom(...STATUSES)).map(([n, status]) => onStream(n, 'status', status, setStatus)),
    streamed(fc.option(requested)).map(([n, list]) => onStream(n, 'replace', list, replace)),
    streamed(fc.constantFrom('enabled' as const, 'paused' as const)).map(([n, status]) =>
      onStream(n, 'operate', status, operate),
    ),
    streamed(subject).map(([n, one]) => onStream(n, 'add', one, addSubject)),
    streamed(subject).map(([n, one]) => onStream(n, 'remove', one, removeSubject)),
    pick.map((n) => onStream(n, 'verify', null, verify)),
    fc.tuple(fc.constantFrom(...types), subject).map(([type, one]) => happen(type, one)),
    fc.tuple(fc.constantFrom(...types), subject).map(([type, one]) => happen(type, one)),
    streamed(
      fc.record({ held: fc.array(fc.constantFrom(...types), { minLength: 2, maxLength: 3 }), of: subject }),
    ).map(([n, pause]) => onStream(n, 'hold', pause, hold)),
    streamed(fc.record({ most: fc.option(fc.integer({ min: 0, max: 3 })), acks: fc.boolean() })).map(
      ([n, how]) => onStream(n, 'poll', how, poll),
    ),
    fc.tuple(fc.nat(9), pick).map(([chance, n]) => onStream(n, 'delete', chance, remove)),
  ]
}

/** Polls everything that is left, stopped streams included; in several answers, so that what overtakes what is seen. */
export async function drain(world: ModelWorld, real: RealTransmitter): Promise<void> {
  for (const stream of world.run.streams) {
    await operate({ world, real, stream }, 'enabled')
    let left: number
    do {
      left = world.model.due(stream.id).length
      await poll({ world, real, stream }, { most: Math.ceil(left / 2) || null, acks: true })
    } while (left > 0)
  }
}

interface OnStream {
  readonly world: ModelWorld
  readonly real: RealTransmitter
  readonly stream: { readonly id: string; readonly receiver: number }
}

function onStream<T>(
  n: number,
  name: string,
  value: T,
  apply: (on: OnStream, value: T) => Promise<void>,
): Command {
  return {
    check: ({ run }) => run.streams.length > 0,
    async run(world, real) {
      const stream = world.run.streams[n % world.run.streams.length]
      if (stream) await apply({ world, real, stream }, value)
    },
    toString: () => `${name}(${n}, ${JSON.stringify(value)})`,
  }
}

function create(receiver: number, requested: string[]): Command {
  return {
    check: ({ run }) => run.streams.length < 6,
    async run({ model, run }, real) {
      const { status, body } = await real.call(receiver, 'post', '/ssf/streams', {
        events_requested: requested,
      })
      assert.equal(status, 201)
      const { stream_id: id, events_delivered } = body as { stream_id: string; events_delivered: string[] }
      model.create(id, run.receivers[receiver] as ModelReceiver, requested)
      run.streams.push({ id, receiver })
      assert.deepEqual(events_delivered, model.delivered(id))
    },
    toString: () => `create(${receiver}, ${JSON.stringify(requested)})`,
  }
}

async function request({ world: { model }, real, stream }: OnStream, requested: string[]): Promise<void> {
  const edit = { stream_id: stream.id, events_requested: requested }
  const { status, body } = await real.call(stream.receiver, 'patch', '/ssf/streams', edit)
  assert.equal(status, 200)
  model.request(stream.id, requested)
  assert.deepEqual((body as { events_delivered: string[] }).events_delivered, model.delivered(stream.id))
}

/** PUT: what is not said is gone (§8.1.1.4). */
async function replace(
  { world: { model }, real, stream }: OnStream,
  requested: string[] | null,
): Promise<void> {
  const whole = { stream_id: stream.id, ...(requested && { events_requested: requested }) }
  const { status, body } = await real.call(stream.receiver, 'put', '/ssf/streams', whole)
  assert.equal(status, 200)
  model.request(stream.id, requested ?? [])
  assert.deepEqual((body as { events_delivered: string[] }).events_delivered, model.delivered(stream.id))
}

async function setStatus({ world: { model }, real, stream }: OnStream, wish: ModelStatus): Promise<void> {
  const body = { stream_id: stream.id, status: wish }
  const { status } = await real.call(stream.receiver, 'post', '/ssf/status', body)
  assert.equal(status, model.setStatus(stream.id, wish) ? 200 : 403)
  const read = await real.call(stream.receiver, 'get', `/ssf/status?stream_id=${stream.id}`)
  assert.equal((read.body as { status: string }).status, model.statusOf(stream.id))
}

async function operate(
  { world: { model }, real, stream }: OnStream,
  status: 'enabled' | 'paused',
): Promise<void> {
  await real.operate(stream.id, status)
  const notices = await real.settleOwn()
  const isNew = model.setStatusByTransmitter(stream.id, status)
  assert.equal(notices.length, isNew ? 1 : 0)
  for (const txn of notices)
    model.notice(stream.id, {
      txn,
      type: 'stream-updated',
      subject: opaque(stream.id),
      urgent: true,
      says: { status },
    })
}

async function addSubject({ world: { model }, real, stream }: OnStream, one: ModelSubject): Promise<void> {
  const body = { stream_id: stream.id, subject: one }
  assert.equal((await real.call(stream.receiver, 'post', '/ssf/subjects/add', body)).status, 200)
  model.addSubject(stream.id, one)
}

async function removeSubject({ world: { model }, real, stream }: OnStream, one: ModelSubject): Promise<void> {
  const body = { stream_id: stream.id, subject: one }
  assert.equal((await real.call(stream.receiver, 'post', '/ssf/subjects/remove', body)).status, 204)
  model.removeSubject(stream.id, one)
}

async function verify({ world: { model, run }, real, stream }: OnStream): Promise<void> {
  run.states += 1
  const state = `${stream.id} ${run.states}`
  const { status } = await real.call(stream.receiver, 'post', '/ssf/verify', { stream_id: stream.id, state })
  assert.equal(status, 204)
  const said = await real.settleOwn()
  assert.ok(said.length <= 1, `${said.length} events about one verification`)
  const [txn] = said
  // A disabled stream takes no verification, and then there is none to know again.
  model.verify(stream.id, {
    txn: txn ?? state,
    type: 'verification',
    subject: opaque(stream.id),
    urgent: true,
    says: { state },
  })
}

function happen(type: string, one: ModelSubject): Command {
  return {
    check: () => true,
    async run({ model }, real) {
      const urgent = type.endsWith('/session-revoked')
      const effect = urgent ? 'tightens' : type.endsWith('/account-enabled') && 'loosens'
      model.happen({
        txn: await real.happen(type, one),
        type,
        subject: one,
        urgent,
        ...(effect && { effect }),
      })
    },
    toString: () => `happen(${type.slice(type.lastIndexOf('/') + 1)}, ${JSON.stringify(one)})`,
  }
}

/** Some events of one subject meet in a pause. */
async function hold(
  on: OnStream,
  { held, of }: { held: readonly string[]; of: ModelSubject },
): Promise<void> {
  await setStatus(on, 'paused')
  for (const type of held) await happen(type, of).run(on.world, on.real)
  await setStatus(on, 'enabled')
}

async function poll(
  { world: { model }, real, stream }: OnStream,
  { most, acks }: { most: number | null; acks: boolean },
): Promise<void> {
  const ask = { returnImmediately: true, ...(most !== null && { maxEvents: most }) }
  const answer = await real.call(stream.receiver, 'post', `/ssf/poll/${stream.id}`, ask)
  assert.equal(answer.status, 200)
  const { sets, moreAvailable = false } = answer.body as PollBody
  const came = Object.entries(sets).map(([jti, set]) => ({ jti, ...claimsOf(set) }))
  for (const { txn, says } of model.due(stream.id)) {
    const [claims] = came.filter((set) => set.txn === txn).flatMap(({ events }) => Object.values(events))
    if (claims && says) assert.deepEqual({ ...claims, ...says }, claims)
  }
  const due = model.due(stream.id)
  const answerable = model.answerable(stream.id)
  const expected = Math.min(most ?? due.length, answerable.length)
  // A part of all may consist of what does not go out, but for one.
  const isSifted = answerable.length < due.length || model.keepsStale(stream.id)
  const least = isSifted && most !== null ? Math.min(expected, 1) : expected
  const many = `${came.length} SETs of ${answerable.length} that may go out`
  assert.ok(came.length >= least && came.length <= expected, many)
  if (most !== 0 && !isSifted) assert.equal(moreAvailable, due.length > expected)
  if (most !== 0 && came.length < expected) assert.ok(moreAvailable, many)
  if (most === null) model.dropStale(stream.id)
  for (const { txn } of came)
    assert.ok(
      answerable.some((event) => event.txn === txn),
      'a SET that may not go out',
    )
  assertOrder(came, due)
  if (!acks || came.length === 0) return
  const ack = came.map(({ jti }) => jti)
  const acked = await real.call(stream.receiver, 'post', `/ssf/poll/${stream.id}`, { ack, maxEvents: 0 })
  assert.deepEqual([acked.status, acked.body], [200, { sets: {} }])
  model.acknowledge(
    stream.id,
    came.map(({ txn }) => txn),
  )
}

/**
 * In an answer the oldest stands first. Of one subject none goes out while an older one that is due stays behind, except
 * that an urgent one overtakes what is not; of what was held while paused, nothing overtakes anything (§8.1.2.1). A
 * revocation that came after the pause does not wait for what the pause held (docs/adr/0030).
 */
function assertOrder(came: readonly { txn: string }[], due: readonly ModelDue[]): void {
  const txns = came.map(({ txn }) => txn)
  const answered = due.filter(({ txn }) => txns.includes(txn))
  assert.deepEqual(
    txns,
    answered.map(({ txn }) => txn),
    'the oldest first',
  )
  for (const [index, newer] of due.entries()) {
    if (!answered.includes(newer)) continue
    for (const older of due.slice(0, index)) {
      if (answered.includes(older) || principalOf(older.subject) !== principalOf(newer.subject)) continue
      const overtakes = newer.urgent && !older.urgent && !(newer.held && older.held)
      const looksAside = newer.effect === 'tightens' && older.held && !newer.held
      const mayPass = overtakes || looksAside
      assert.ok(mayPass, `${newer.type} went ahead of an older ${older.type}, ${principalOf(older.subject)}`)
    }
  }
}

async function remove({ world: { model, run }, real, stream }: OnStream, chance: number): Promise<void> {
  // Rarely, or there would be little left to look at.
  if (chance > 1) return
  const gone = await real.call(stream.receiver, 'delete', `/ssf/streams?stream_id=${stream.id}`)
  assert.equal(gone.status, 204)
  assert.equal((await real.call(stream.receiver, 'post', `/ssf/poll/${stream.id}`, {})).status, 404)
  model.delete(stream.id)
  run.streams.splice(run.streams.indexOf(stream), 1)
}

function claimsOf(set: string): { txn: string; events: Record<string, Record<string, unknown>> } {
  return JSON.parse(Buffer.from(set.split('.')[1] ?? '', 'base64url').toString('utf8'))
}
