import { type HubApi, hubApi } from '../support/hub-api.js'
import { startHub } from '../support/hub-process.js'
import { SESSION_REVOKED } from '../support/upstream.js'
import { waitUntil } from '../support/wait.js'
import { type PackageProcess, startPackage } from './package-process.js'

export const PUSH = 'urn:ietf:rfc:8935'
export const POLL = 'urn:ietf:rfc:8936'

/** Of a SET that the hub made. */
export interface Claims {
  readonly iss: string
  readonly jti: string
  readonly txn: string
}
export interface StreamBody {
  readonly stream_id: string
  readonly delivery: { readonly method: string }
  readonly events_delivered: readonly string[]
}
export interface DeliveryRow {
  readonly jti: string
  readonly failure: string | null
}

/** A hub, and receivers of a package around it. */
export interface ReceiverScene {
  readonly url: string
  readonly admin: HubApi
  /** Ended by `endReceivers` at the latest. */
  startReceiver<T>(program: string, config: object): PackageProcess<T>
  endReceivers(): Promise<void>
  as(token: string): HubApi
  /** The hub is told of a revoked session, `session of <txn>`, of alice. */
  revoke(txn: string): Promise<void>
  /** Waits until the receiver has a stream. */
  streamOf(token: string): Promise<StreamBody>
  /** Waits until the hub says of the one delivery of this txn on the stream that it is in this state. */
  deliveryIn(state: 'received' | 'parked', txn: string, streamId: string): Promise<DeliveryRow>
  close(): Promise<void>
}

export async function createReceiverScene(): Promise<ReceiverScene> {
  const hub = await startHub()
  const as = (token: string) => hubApi(() => hub.url, token)
  const admin = as(hub.adminToken)
  const running: PackageProcess<unknown>[] = []

  async function endReceivers(): Promise<void> {
    await Promise.all(running.splice(0).map((receiver) => receiver.stop()))
  }

  return {
    url: hub.url,
    admin,
    as,
    startReceiver<T>(program: string, config: object) {
      const receiver = startPackage<T>(program, config)
      running.push(receiver as PackageProcess<unknown>)
      return receiver
    },
    endReceivers,
    async revoke(txn) {
      await admin.call('POST', '/v1/events', {
        type: SESSION_REVOKED,
        txn,
        sub_id: {
          format: 'complex',
          user: { format: 'iss_sub', iss: 'https://idp.example', sub: 'alice' },
          session: { format: 'opaque', id: `session of ${txn}` },
        },
        event: { initiating_entity: 'admin', reason_admin: { en: 'an exercise' } },
      })
    },
    async streamOf(token) {
      return await waitUntil('the receiver has a stream', async () => {
        const streams = await as(token).call<StreamBody[]>('GET', '/ssf/streams')
        return streams[0]
      })
    },
    async deliveryIn(state, txn, streamId) {
      let found: unknown
      const look = async () => {
        const path = `/v1/deliveries?txn=${txn}&stream_id=${streamId}`
        const { items } = await admin.call<{ items: (DeliveryRow & { state: string })[] }>('GET', path)
        found = items
        return items.find((row) => row.state === state)
      }
      return await waitUntil(`${txn} is ${state}`, look, { detail: () => JSON.stringify(found) })
    },
    async close() {
      await endReceivers()
      await hub.remove()
    },
  }
}
