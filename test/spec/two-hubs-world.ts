import { randomUUID } from 'node:crypto'
import { CAEP } from '../../src/secevent/event-types.js'
import { addReceiver, type HubApi, hubApi } from '../support/hub-api.js'
import { sharedTwoHubs, type TwoHubs } from '../support/two-hubs.js'
import { waitUntil } from '../support/wait.js'

/** The claims of a SET, as far as tests look at them. */
export interface SetClaims {
  readonly iss: string
  readonly jti: string
  readonly txn: string
  readonly sub_id: Readonly<Record<string, unknown>>
  readonly events: Readonly<Record<string, Readonly<Record<string, unknown>>>>
}

export interface EmittedEvent {
  readonly type: string
  readonly subject: object
  readonly claims?: object
}

/** Who asks: at each of the two directly, or at the door, where each call goes to the other. */
export interface Caller {
  readonly at: readonly [HubApi, HubApi]
  readonly door: HubApi
}

export interface WorldReceiver extends Caller {
  readonly id: string
}

/** Receivers, streams and events at two hubs; which of the two is asked, the test says. */
export interface TwoHubsWorld {
  readonly hubs: TwoHubs
  readonly admin: Caller
  addReceiver(settings?: object): Promise<WorldReceiver>
  caller(token: string): Caller
  /** Of every CAEP type, to be polled unless `body` says otherwise. @returns its id */
  addStream(receiver: Caller, body?: object): Promise<string>
  /** @returns the txn */
  emit(at: HubApi, event: EmittedEvent): Promise<string>
  /** Until the event is owed to the stream, which may be paused. */
  queued(txn: string, streamId: string): Promise<void>
  /** Without acknowledging them. @returns the SETs, compact, in their order */
  poll(at: HubApi, streamId: string, maxEvents?: number): Promise<string[]>
  acknowledge(at: HubApi, streamId: string, sets: readonly string[]): Promise<void>
}

const part = (set: string, index: number) =>
  JSON.parse(Buffer.from(set.split('.')[index] ?? '', 'base64url').toString('utf8'))
export const claimsOf = (set: string): SetClaims => part(set, 1)
export const headerOf = (set: string): { alg: string; kid: string } => part(set, 0)

export async function openTwoHubsWorld(): Promise<TwoHubsWorld> {
  const hubs = await sharedTwoHubs()
  const [one, other] = hubs.directUrls
  const caller = (token: string): Caller => ({
    at: [hubApi(() => one, token), hubApi(() => other, token)],
    door: hubApi(() => hubs.url, token),
  })
  const admin = caller(hubs.adminToken)
  return {
    hubs,
    admin,
    caller,
    async addReceiver(settings) {
      const { id, token } = await addReceiver(admin.door, randomUUID(), settings)
      return { id, ...caller(token) }
    },
    async addStream({ door }, body) {
      const whole = { events_requested: Object.values(CAEP), ...body }
      return (await door.call<{ stream_id: string }>('POST', '/ssf/streams', whole)).stream_id
    },
    async emit(at, { type, subject, claims = {} }) {
      const body = { type, sub_id: subject, event: claims, event_timestamp: 1_790_000_000 }
      return (await at.call<{ txn: string }>('POST', '/v1/events', body)).txn
    },
    async queued(txn, streamId) {
      await waitUntil('the event is owed', async () => {
        const path = `/v1/deliveries?txn=${txn}&stream_id=${streamId}`
        return (await admin.door.call<{ items: object[] }>('GET', path)).items.length > 0
      })
    },
    async poll(at, streamId, maxEvents) {
      const ask = { returnImmediately: true, ...(maxEvents && { maxEvents }) }
      const { sets } = await at.call<{ sets: Record<string, string> }>('POST', `/ssf/poll/${streamId}`, ask)
      return Object.values(sets)
    },
    async acknowledge(at, streamId, sets) {
      const ack = sets.map((set) => claimsOf(set).jti)
      await at.call('POST', `/ssf/poll/${streamId}`, { ack, maxEvents: 0 })
    },
  }
}
