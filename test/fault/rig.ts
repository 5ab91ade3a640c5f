import { randomUUID } from 'node:crypto'
import { pickFreePort } from '../../src/storage/postgres-server.js'
import { createHubProcess, type HubProcess } from '../support/hub-process.js'
import { createScene, type Scene } from '../support/hub-scene.js'
import { type KafkaOptions, type KafkaServer, sharedKafka, startKafka } from '../support/kafka.js'
import type { Window } from '../support/ledger.js'
import { createTestDatabase } from '../support/postgres.js'
import { type PostgresServer, startPostgresServer } from '../support/postgres-server.js'
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js'
import type { Upstream } from '../support/upstream.js'
import { createHubUsage, type HubUsage } from './hub-usage.js'
import { seededRandom } from './random.js'
import { LOAD_TYPES, type RunningLoad, startLoad } from './running-load.js'

/** A hub whose settings a row may change before it starts it again. */
export interface FaultHub extends HubProcess {
  readonly env: Record<string, string>
  /** What all that has asked for its metrics was told, its row included. */
  readonly usage: HubUsage
  /** Kills it unless it is dead, takes the crashpoint away and waits until it is ready again. */
  revive(): Promise<void>
}

export interface FaultScene extends Scene {
  readonly databaseUrl: string
  readonly hubs: readonly FaultHub[]
}

export interface HubOptions {
  readonly databaseUrl?: string
  readonly env?: Readonly<Record<string, string>>
  readonly port?: number
  readonly entry?: string
  /** Default: true. */
  readonly start?: boolean
}

export interface ScenePoints {
  /** Default: 2. */
  readonly push?: number
  /** Default: 1. */
  readonly poll?: number
  readonly upstream?: Upstream
}

/** What a row breaks things with. Everything that it opens is closed when the row is over, however it ends. */
export interface FaultRig {
  readonly scale: number
  /** Follows from the seed and the row's id. */
  random(): number
  /** A duration of the catalogue at this scale, never below what the row must wait for. */
  scaled(fullMs: number, leastMs?: number): number
  /** A migrated database of its own on a server that no row harms. */
  database(): Promise<string>
  postgres(options?: Parameters<typeof startPostgresServer>[0]): Promise<PostgresServer>
  /** Settings of a hub on the broker that no row harms, under a prefix of its own. */
  kafkaEnv(): Promise<Record<string, string>>
  kafka(options?: KafkaOptions): Promise<KafkaServer>
  proxy(targetPort: () => number, port?: number): Promise<TcpProxy>
  hub(options?: HubOptions): Promise<FaultHub>
  /** Two that know each other by one issuer. `second` has settings of the second alone. */
  twoHubs(
    env?: Readonly<Record<string, string>>,
    second?: Readonly<Record<string, string>>,
  ): Promise<[FaultHub, FaultHub]>
  /** An upstream and endpoints around hubs of one database. What goes through it is judged after the row. */
  scene(hubs: readonly FaultHub[], points?: ScenePoints): Promise<FaultScene>
  /** SETs of all effects about few subjects, until it is stopped. */
  load(scene: FaultScene, urls?: readonly string[]): RunningLoad
  /** What is sent in here counts as sent during the fault; recovery counts from its end. */
  during<T>(fault: () => Promise<T>): Promise<T>
  atEnd(close: () => Promise<unknown> | unknown): void
  /** For whoever judges. */
  readonly scenes: readonly FaultScene[]
  readonly hubs: readonly FaultHub[]
  window(): Window | undefined
  close(): Promise<void>
}

export function createFaultRig(options: { seed: number; rowId: string; scale: number }): FaultRig {
  const { scale } = options
  const random = seededRandom(options.seed + hashOf(options.rowId))
  const closing: (() => Promise<unknown> | unknown)[] = []
  const scenes: FaultScene[] = []
  const hubs: FaultHub[] = []
  let window: Window | undefined
  let closed = false

  /** A row that is interrupted goes on for a while: what it opens then is closed at once. */
  function atEnd(close: () => Promise<unknown> | unknown): void {
    if (closed) void closeOne(close)
    else closing.push(close)
  }

  const rig: FaultRig = {
    scale,
    random,
    scaled: (fullMs, leastMs = 0) => Math.max(fullMs * scale, leastMs),
    async database() {
      const database = await createTestDatabase()
      atEnd(() => database.close())
      return database.url
    },
    async postgres(settings) {
      const server = await startPostgresServer(settings)
      atEnd(() => server.remove())
      return server
    },
    async kafkaEnv() {
      const { brokers } = await sharedKafka()
      return { KAFKA_BROKERS: brokers.join(','), KAFKA_TOPIC_PREFIX: `fault-${randomUUID().slice(0, 8)}` }
    },
    async kafka(settings) {
      const broker = await startKafka(settings)
      atEnd(() => broker.remove())
      return broker
    },
    async proxy(targetPort, port) {
      const proxy = await startTcpProxy({ targetPort, ...(port !== undefined && { port }) })
      atEnd(() => proxy.close())
      return proxy
    },
    async hub({ databaseUrl, env = {}, port, entry, start = true } = {}) {
      const ownEnv: Record<string, string> = { DATABASE_URL: databaseUrl ?? (await rig.database()), ...env }
      const child = await createHubProcess({
        env: ownEnv,
        ...(port !== undefined && { port }),
        ...(entry !== undefined && { entry }),
      })
      atEnd(() => child.remove())
      const usage = createHubUsage()
      const hub: FaultHub = {
        ...child,
        env: ownEnv,
        usage,
        async ready() {
          await child.ready()
          usage.ready(child.pid())
        },
        async metrics(options) {
          const pid = child.pid()
          const text = await child.metrics(options)
          usage.told(pid, text)
          return text
        },
        async revive() {
          child.signal('SIGKILL')
          await child.ended()
          delete ownEnv.FIREBREAK_CRASHPOINT
          delete ownEnv.FIREBREAK_TEST_FAULTS
          child.start()
          await hub.ready()
        },
      }
      hubs.push(hub)
      if (start) {
        hub.start()
        await hub.ready()
      }
      return hub
    },
    async twoHubs(env = {}, second = {}) {
      const port = await pickFreePort()
      const databaseUrl = env.DATABASE_URL ?? (await rig.database())
      const shared = { ...env, ISSUER: `http://127.0.0.1:${port}` }
      const pair: [FaultHub, FaultHub] = [
        await rig.hub({ databaseUrl, env: shared, port, start: false }),
        await rig.hub({ databaseUrl, env: { ...shared, ...second }, start: false }),
      ]
      for (const hub of pair) hub.start()
      await Promise.all(pair.map((hub) => hub.ready()))
      return pair
    },
    async scene(around, { push = 2, poll = 1, upstream } = {}) {
      const [first] = around
      if (!first?.env.DATABASE_URL) throw new Error('a scene needs a hub with a database')
      const made = await createScene(around, { types: LOAD_TYPES, ...(upstream && { upstream }) })
      atEnd(() => made.close())
      for (let n = 1; n <= push; n += 1) await made.addPush(`push ${n}`)
      for (let n = 1; n <= poll; n += 1) await made.addPoll(`poll ${n}`)
      const scene: FaultScene = { ...made, databaseUrl: first.env.DATABASE_URL, hubs: around }
      scenes.push(scene)
      return scene
    },
    load(scene, urls = scene.ingestUrls) {
      const { load, abandon } = startLoad({ scene, urls, random })
      atEnd(abandon)
      return load
    },
    async during(fault) {
      const fromMs = window?.fromMs ?? performance.now()
      const result = await fault()
      window = { fromMs, toMs: performance.now() }
      return result
    },
    atEnd,
    scenes,
    hubs,
    window: () => window,
    async close() {
      closed = true
      for (const close of closing.splice(0).reverse()) await closeOne(close)
    },
  }
  return rig
}

async function closeOne(close: () => Promise<unknown> | unknown): Promise<void> {
  try {
    await close()
  } catch (error) {
    console.error(`could not clean up: ${String(error)}`)
  }
}

function hashOf(text: string): number {
  return [...text].reduce((hash, letter) => Math.imul(hash, 31) + letter.charCodeAt(0), 7)
}
