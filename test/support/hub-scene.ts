import { addPollStream, addPushStream, addReceiver, addTransmitter, type HubApi, hubApi } from './hub-api.js'
import type { HubProcess } from './hub-process.js'
import { createLedger, type Ledger } from './ledger.js'
import { pushSet } from './set-producer.js'
import { type SetPoller, type SetSink, startPoller, startSink } from './set-sink.js'
import { createUpstream, type EventToSign, type Upstream } from './upstream.js'
import { waitUntil } from './wait.js'

export interface ScenePush {
  readonly name: string
  readonly streamId: string
  readonly sink: SetSink
  /** The hub, asked as this stream's receiver. */
  readonly receiver: HubApi
  /** Of that receiver. */
  readonly token: string
}

export interface ScenePoll {
  readonly name: string
  readonly streamId: string
  readonly path: string
  readonly token: string
}

/** One upstream, and enforcement points with a receiver and a stream each, around one or more hub processes. */
export interface Scene {
  readonly ledger: Ledger
  /** Ids of all its streams, by name. */
  readonly streamIds: ReadonlyMap<string, string>
  readonly upstream: Upstream
  readonly admin: HubApi
  /** Of every hub, in their order. */
  readonly ingestUrls: readonly string[]
  addPush(name: string, settings?: object): Promise<ScenePush>
  /** As `addPush`, to an endpoint of the caller's own, which writes into the ledger under this name. */
  addPushTo(name: string, endpointUrl: string): Promise<Pick<ScenePush, 'streamId' | 'receiver' | 'token'>>
  /** With `poll: false` nobody polls it; with `forgets` by a client that loses its acknowledgements with the connection. */
  addPoll(name: string, options?: { poll?: boolean; forgets?: boolean }): Promise<ScenePoll>
  /**
   * Pushes one SET until it is accepted, and writes it into the ledger. Answers it.
   * @param url default: of the first hub
   */
  push(event: Omit<EventToSign, 'user'> & { user?: string }, url?: string): Promise<string>
  /** Waits until every stream has every SET that was accepted since it is there, then checks the ledger. */
  settled(deadlineMs?: number): Promise<void>
  close(): Promise<void>
}

/**
 * The hubs must be ready. Calls go to the first of them.
 * @param options.types that its streams ask for
 * @param options.upstream default: one whose key the hub is given
 */
export async function createScene(
  hubs: readonly HubProcess[],
  options: { types?: readonly string[]; upstream?: Upstream } = {},
): Promise<Scene> {
  const first = hubs[0] as HubProcess
  const ledger = createLedger()
  const upstream = options.upstream ?? (await createUpstream('idp'))
  const admin = hubApi(() => first.url, first.adminToken)
  const ingestPath = await addTransmitter(admin, upstream)
  const sinks: SetSink[] = []
  const pollers: SetPoller[] = []
  const streamIds = new Map<string, string>()

  async function openPush({
    name,
    url,
    settings,
  }: {
    name: string
    url: string
    settings: object | undefined
  }) {
    const { token } = await addReceiver(admin, name, { signing_alg: 'ES256', ...settings })
    const receiver = hubApi(() => first.url, token)
    const streamId = await addPushStream(receiver, url, options.types)
    streamIds.set(name, streamId)
    ledger.expect(name)
    return { streamId, receiver, token }
  }

  return {
    ledger,
    streamIds,
    upstream,
    admin,
    ingestUrls: hubs.map((hub) => hub.url + ingestPath),
    async addPush(name, settings) {
      const sink = await startSink((set) => void ledger.received(name, set))
      sinks.push(sink)
      return { name, sink, ...(await openPush({ name, url: sink.url, settings })) }
    },
    addPushTo: (name, url) => openPush({ name, url, settings: {} }),
    async addPoll(name, { poll = true, forgets = false } = {}) {
      const { token } = await addReceiver(admin, name, { signing_alg: 'ES256' })
      const { streamId, path } = await addPollStream(
        hubApi(() => first.url, token),
        options.types,
      )
      streamIds.set(name, streamId)
      if (poll) {
        ledger.expect(name)
        const onSet = (set: string) => ledger.received(name, set)
        const base = (failures: number) => (hubs[failures % hubs.length] ?? first).url
        pollers.push(startPoller({ base, path, token, onSet, forgets }))
      }
      return { name, streamId, path, token }
    },
    async push(event, url = first.url + ingestPath) {
      const set = await upstream.sign({ user: 'alice', ...event })
      await waitUntil(`the hub takes ${event.txn}`, async () => (await pushSet(url, set)) === 202)
      ledger.accepted(event.txn)
      return set
    },
    async settled(deadlineMs = 120_000) {
      const missing = () => ledger.streams().map((name) => `${name} misses ${ledger.missing(name).length}`)
      await waitUntil('every stream has every SET', ledger.complete, {
        deadlineMs,
        detail: () => `of ${ledger.acceptedCount()} ${missing().join(', ')}`,
      })
      ledger.check()
    },
    async close() {
      await Promise.all(pollers.map((poller) => poller.stop()))
      await Promise.all(sinks.map((sink) => sink.close()))
    },
  }
}

/** Sum of a counter or gauge over its labels, as the hub's /metrics says. */
export async function readMetric(hub: HubProcess, name: string): Promise<number> {
  const lines = (await hub.metrics()).split('\n')
  const values = lines.filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
  return values.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
}
