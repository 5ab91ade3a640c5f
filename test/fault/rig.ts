import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { pickFreePort } from '../../src/storage/postgres-server.js'
import { createHubProcess, type HubProcess } from '../support/hub-process.js'
import { createScene, type Scene } from '../support/hub-scene.js'
import { type KafkaOptions, type KafkaServer, sharedKafka, startKafka } from '../support/kafka.js'
import type { Window } from '../support/ledger.js'
import { createTestDatabase } from '../support/postgres.js'
import { type PostgresServer, startPostgresServer } from '../support/postgres-server.js'
import { type LoadResult, pushLoad } from '../support/set-producer.js'
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js'
import {
  ACCOUNT_DISABLED,
  ACCOUNT_ENABLED,
  SESSION_ESTABLISHED,
  SESSION_REVOKED,
  type Upstream,
} from '../support/upstream.js'
import { seededRandom } from './random.js'

/** A hub whose settings a row may change before it starts it again. */
export interface FaultHub extends HubProcess {
  readonly env: Record<string, string>
  /** Kills it unless it is dead, takes the crashpoint away and waits until it is ready again. */
  revive(): Promise<void>
}

export interface FaultScene extends Scene {
  readonly databaseUrl: string
  readonly hubs: readonly FaultHub[]
}

export interface RunningLoad {
  readonly accepted: number
  /** Lets what is under way end. */
  stop(): Promise<LoadResult>
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

const TYPES = [SESSION_REVOKED, SESSION_ESTABLISHED, ACCOUNT_DISABLED, ACCOUNT_ENABLED]
/** About 60 SETs a second: enough to be always under way, little enough for two slow cores. */
const BURST = 12
const PAUSE_MS = 150

export function createFaultRig(options: { seed: number; rowId: string; scale: number }): FaultRig {
  const { scale } = options
  const random = seededRandom(options.seed + hashOf(options.rowId))
  const closing: (() => Promise<unknown> | unknown)[] = []
  const scenes: FaultScene[] = []
  const hubs: FaultHub[] = []
  let window: Window | undefined

  const rig: FaultRig = {
    scale,
    random,
    scaled: (fullMs, leastMs = 0) => Math.max(fullMs * scale, leastMs),
    async database() {
      const database = await createTestDatabase()
      closing.push(() => database.close())
      return database.url
    },
    async postgres(settings) {
      const server = await startPostgresServer(settings)
      closing.push(() => server.remove())
      return server
    },
    async kafkaEnv() {
      const { brokers } = await sharedKafka()
      return { KAFKA_BROKERS: brokers.join(','), KAFKA_TOPIC_PREFIX: `fault-${randomUUID().slice(0, 8)}` }
    },
    async kafka(settings) {
      const broker = await startKafka(settings)
      closing.push(() => broker.remove())
      return broker
    },
    async proxy(targetPort, port) {
      const proxy = await startTcpProxy({ targetPort, ...(port !== undefined && { port }) })
      closing.push(() => proxy.close())
      return proxy
    },
    async hub({ databaseUrl, env = {}, port, entry, start = true } = {}) {
      const ownEnv: Record<string, string> = { DATABASE_URL: databaseUrl ?? (await rig.database()), ...env }
      const child = await createHubProcess({
        env: ownEnv,
        ...(port !== undefined && { port }),
        ...(entry !== undefined && { entry }),
      })
      closing.push(() => child.remove())
      const hub: FaultHub = {
        ...child,
        env: ownEnv,
        async revive() {
          child.signal('SIGKILL')
          await child.ended()
          delete ownEnv.FIREBREAK_CRASHPOINT
          delete ownEnv.FIREBREAK_TEST_FAULTS
          child.start()
          await child.ready()
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
      const made = await createScene(around, { types: TYPES, ...(upstream && { upstream }) })
      closing.push(() => made.close())
      for (let n = 1; n <= push; n += 1) await made.addPush(`push ${n}`)
      for (let n = 1; n <= poll; n += 1) await made.addPoll(`poll ${n}`)
      const scene: FaultScene = { ...made, databaseUrl: first.env.DATABASE_URL, hubs: around }
      scenes.push(scene)
      return scene
    },
    load: (scene, urls = scene.ingestUrls) => startLoad(scene, urls, random),
    async during(fault) {
      const fromMs = window?.fromMs ?? performance.now()
      const result = await fault()
      window = { fromMs, toMs: performance.now() }
      return result
    },
    atEnd: (close) => void closing.push(close),
    scenes,
    hubs,
    window: () => window,
    async close() {
      for (const close of closing.splice(0).reverse()) {
        await Promise.resolve()
          .then(close)
          .catch((error: unknown) => console.error(`could not clean up: ${String(error)}`))
      }
    },
  }
  return rig
}

function startLoad(scene: FaultScene, urls: readonly string[], random: () => number): RunningLoad {
  let stopping = false
  let accepted = 0
  const refused = new Map<number, number>()

  async function run(): Promise<void> {
    while (!stopping) {
      const { upstream, ledger } = scene
      const onAccepted = () => {
        accepted += 1
      }
      const chunk = await pushLoad({ upstream, ledger, urls, count: BURST, types: TYPES, onAccepted })
      for (const [status, count] of chunk.refused) refused.set(status, (refused.get(status) ?? 0) + count)
      await delay(PAUSE_MS * (0.5 + random()))
    }
  }

  const running = run()
  // Whoever stops it hears of its failure; until then it must not end the process.
  running.catch(() => {})
  return {
    get accepted() {
      return accepted
    },
    async stop() {
      stopping = true
      await running
      return { accepted, refused }
    },
  }
}

function hashOf(text: string): number {
  return [...text].reduce((hash, letter) => Math.imul(hash, 31) + letter.charCodeAt(0), 7)
}
