import type { LogFields, Logger } from '../../src/kernel/logger.js'
import { type RealHub, startRealHub } from '../support/order-real-hub.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { type ScriptedTransmitter, startScriptedTransmitter } from '../support/scripted-transmitter.js'
import { waitUntil } from '../support/wait.js'

export interface TransmitterBody {
  id: string
  issuer: string
  audience: string[]
  delivery: { method: string; events_requested?: string[]; credentials?: Record<string, unknown> }
  stream?: StreamBody
}

export interface StreamBody {
  state: string
  stream_id: string | null
  audience: string[] | null
  events_delivered: string[] | null
  events_missing: string[]
  status: string | null
  status_reason: string | null
  verified_at: string | null
  last_poll_at: string | null
  last_error: string | null
}

export interface HubBelow {
  readonly hub: RealHub
  readonly database: TestDatabase
  readonly log: { level: string; event: string; fields: LogFields }[]
  /** A transmitter with keys and streams of its own, closed with the hub. */
  newTransmitter(): Promise<ScriptedTransmitter>
  /** Registers it with client credentials. @returns the id */
  subscribe(
    transmitter: ScriptedTransmitter,
    method: 'push' | 'poll',
    more?: { credentials?: object; delivery?: object; [name: string]: unknown },
  ): Promise<string>
  read(id: string): Promise<TransmitterBody>
  /** Waits until the stream is as said. */
  until(id: string, what: string, look: (stream: StreamBody) => boolean): Promise<StreamBody>
  /** Makes, verifies and answers the stream. */
  verified(...given: Parameters<HubBelow['subscribe']>): Promise<string>
  /** The hub has taken it. */
  taken(txn: string): Promise<{ type: string; state: string; quarantine: string | null }>
  close(): Promise<void>
}

/** A whole hub that subscribes to scripted transmitters, known by its API, its log and its database. */
export async function startHubBelow(): Promise<HubBelow> {
  const database = await createTestDatabase()
  const log: HubBelow['log'] = []
  const hub = await startRealHub(database.url, { logger: recorder(log) })
  const transmitters: ScriptedTransmitter[] = []
  let names = 0

  const below: HubBelow = {
    hub,
    database,
    log,
    async newTransmitter() {
      const transmitter = await startScriptedTransmitter()
      transmitters.push(transmitter)
      return transmitter
    },
    async subscribe(transmitter, method, { credentials, delivery, ...more } = {}) {
      const { id: client_id, secret: client_secret } = transmitter.client
      names += 1
      const { id } = await hub.call<TransmitterBody>('POST', '/v1/transmitters', {
        name: `scripted ${names}`,
        discover: transmitter.url,
        delivery: { method, credentials: credentials ?? { client_id, client_secret }, ...delivery },
        ...more,
      })
      return id
    },
    read: (id) => hub.call<TransmitterBody>('GET', `/v1/transmitters/${id}`),
    async until(id, what, look) {
      let last: StreamBody | undefined
      return await waitUntil(
        what,
        async () => {
          last = (await below.read(id)).stream
          return last && look(last) ? last : undefined
        },
        { detail: () => JSON.stringify(last) },
      )
    },
    async verified(...given) {
      const id = await below.subscribe(...given)
      await below.until(id, 'the stream is verified', ({ verified_at }) => verified_at !== null)
      return id
    },
    async taken(txn) {
      interface List {
        items: { type: string; state: string; quarantine: string | null }[]
      }
      return await waitUntil(`the hub has taken ${txn}`, async () => {
        const { items } = await hub.call<List>('GET', `/v1/events?txn=${txn}`)
        return items[0]
      })
    },
    async close() {
      await hub.stop()
      for (const transmitter of transmitters) await transmitter.close()
      await database.close()
    },
  }
  return below
}

function recorder(log: HubBelow['log']): Logger {
  const write =
    (level: string) =>
    (event: string, fields: LogFields | (() => LogFields) = {}) =>
      void log.push({ level, event, fields: typeof fields === 'function' ? fields() : fields })
  return { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') }
}
