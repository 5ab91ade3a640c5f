import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { pickFreePort } from '../../src/storage/postgres-server.js'
import { waitUntil } from './wait.js'
import { startWatchdog } from './watchdog.js'

// dist/test/support/kafka.js → the repository.
const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..')
const JARS = join(ROOT, '.cache', 'kafka-jars')
const CLUSTER_ID = 'firebreakTestCluster01'
const JAVA_OPTIONS = ['-Xms128m', '-Xmx384m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1']

export interface KafkaOptions {
  /** A second listener that tells clients to come back through this port: where a test's proxy listens. */
  advertisedProxyPort?: number
  /** Users of a third listener, SASL_SSL with PLAIN; they may do nothing until given an ACL. */
  users?: Record<string, string>
  /** Extra lines of server.properties. */
  config?: Record<string, string>
}

/** One real broker (KRaft, its own controller) as a child process on loopback. */
export interface KafkaServer {
  /** For clients that connect directly. */
  readonly brokers: string[]
  readonly port: number
  /** Where a proxy has to forward to (`advertisedProxyPort`). */
  readonly proxyTargetPort: number
  /** The listener with TLS and user names (`users`), and the certificate to trust. */
  readonly secure: { readonly brokers: string[]; readonly ca: string }
  /** Starts it again after `stop` or `kill`, on the same ports and data. */
  start(): Promise<void>
  /** SIGTERM, and waits for the end. */
  stop(): Promise<void>
  /** SIGKILL, and waits for the end. */
  kill(): Promise<void>
  /** SIGSTOP, and waits until each thread has stopped: the broker stays connected and answers nothing. */
  pause(): Promise<void>
  resume(): void
  /** Kills it, empties its disk and starts it again: a new, empty broker at the same address. */
  wipeAndRestart(): Promise<void>
  /** Ends it and removes its data. */
  remove(): Promise<void>
}

export async function startKafka(options: KafkaOptions = {}): Promise<KafkaServer> {
  if (!existsSync(join(JARS, '.complete')))
    throw new Error('The Kafka jars are missing: run `npm run setup:test`.')
  const folder = mkdtempSync(join(tmpdir(), 'firebreak-kafka-'))
  const ports = await pickPorts(4)
  const [port, controllerPort, proxyTargetPort, securePort] = ports as [number, number, number, number]
  const ca = options.users ? makeCertificate(folder) : ''
  const properties = join(folder, 'server.properties')
  writeFileSync(
    properties,
    serverProperties({ ...options, folder, port, controllerPort, proxyTargetPort, securePort }),
  )
  const broker = createProcess(folder, properties)
  broker.format()
  await broker.start()
  return {
    brokers: [`127.0.0.1:${port}`],
    port,
    proxyTargetPort,
    secure: { brokers: [`127.0.0.1:${securePort}`], ca },
    start: broker.start,
    stop: () => broker.end('SIGTERM'),
    kill: () => broker.end('SIGKILL'),
    pause: broker.pause,
    resume: broker.resume,
    async wipeAndRestart() {
      await broker.end('SIGKILL')
      rmSync(join(folder, 'data'), { recursive: true, force: true })
      broker.format()
      await broker.start()
    },
    remove: broker.remove,
  }
}

let shared: Promise<KafkaServer> | undefined

/** One broker for all tests that do it no harm; use topic prefixes of your own. */
export function sharedKafka(): Promise<KafkaServer> {
  shared ??= startKafka()
  return shared
}

// At the root of mocha's suites when a test file imports this; a plain script relies on the watchdog.
if (typeof after === 'function') {
  after(async () => {
    const started = shared
    shared = undefined
    await (await started)?.remove()
  })
}

function createProcess(folder: string, properties: string) {
  let child: ChildProcess | undefined
  const logFile = join(folder, 'broker.log')
  const java = [
    '-cp',
    join(JARS, '*'),
    `-Dlog4j2.configurationFile=${logConfiguration(folder)}`,
    ...JAVA_OPTIONS,
  ]

  const watchdog = startWatchdog(folder)

  const broker = {
    format() {
      mkdirSync(join(folder, 'data'), { recursive: true })
      const format = ['kafka.tools.StorageTool', 'format', '-t', CLUSTER_ID, '-c', properties]
      execFileSync('java', [...java, ...format], { stdio: 'ignore' })
    },
    async start(): Promise<void> {
      writeFileSync(logFile, '')
      const log = openSync(logFile, 'a')
      const started = spawn('java', [...java, 'kafka.Kafka', properties], { stdio: ['ignore', log, log] })
      child = started
      // The test process must be able to end by itself; the watchdog then ends the broker.
      started.unref()
      const deadline = Date.now() + 60_000
      while (!readFileSync(logFile, 'utf8').includes('Kafka Server started')) {
        const ended = started.exitCode ?? started.signalCode
        if (ended !== null || Date.now() > deadline) {
          const tail = readFileSync(logFile, 'utf8').split('\n').slice(-20).join('\n')
          throw new Error(`The test broker did not start (${ended ?? 'timeout'}):\n${tail}`)
        }
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    },
    async pause(): Promise<void> {
      child?.kill('SIGSTOP')
      // The signal is sent, not yet taken: a thread that runs meanwhile may still answer one request.
      await waitUntil('the broker to stop', () => allThreadsStopped(child?.pid))
    },
    resume: () => void child?.kill('SIGCONT'),
    async end(signal: NodeJS.Signals): Promise<void> {
      const ending = child
      if (!ending || ending.exitCode !== null || ending.signalCode !== null) return
      const ended = new Promise((resolve) => ending.once('exit', resolve))
      ending.ref()
      ending.kill(signal)
      ending.kill('SIGCONT')
      const late = setTimeout(() => ending.kill('SIGKILL'), 20_000)
      await ended
      clearTimeout(late)
    },
    async remove(): Promise<void> {
      await broker.end('SIGKILL')
      rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
      await watchdog.dismiss()
    },
  }
  return broker
}

function allThreadsStopped(pid: number | undefined): boolean {
  const states = execFileSync('ps', ['-L', '-o', 'state=', '-p', String(pid)], { encoding: 'utf8' })
  return /^(\s*T\s*)+$/.test(states)
}

interface Layout extends KafkaOptions {
  folder: string
  port: number
  controllerPort: number
  proxyTargetPort: number
  securePort: number
}

function serverProperties(layout: Layout): string {
  const listeners = [
    `PLAINTEXT://127.0.0.1:${layout.port}`,
    `CONTROLLER://127.0.0.1:${layout.controllerPort}`,
  ]
  const advertised = [`PLAINTEXT://127.0.0.1:${layout.port}`]
  const protocols = ['PLAINTEXT:PLAINTEXT', 'CONTROLLER:PLAINTEXT']
  if (layout.advertisedProxyPort !== undefined) {
    listeners.push(`PROXIED://127.0.0.1:${layout.proxyTargetPort}`)
    advertised.push(`PROXIED://127.0.0.1:${layout.advertisedProxyPort}`)
    protocols.push('PROXIED:PLAINTEXT')
  }
  if (layout.users) {
    listeners.push(`SECURE://127.0.0.1:${layout.securePort}`)
    advertised.push(`SECURE://127.0.0.1:${layout.securePort}`)
    protocols.push('SECURE:SASL_SSL')
  }
  const lines = {
    'process.roles': 'broker,controller',
    'node.id': '1',
    'controller.quorum.voters': `1@127.0.0.1:${layout.controllerPort}`,
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'PLAINTEXT',
    listeners: listeners.join(','),
    'advertised.listeners': advertised.join(','),
    'listener.security.protocol.map': protocols.join(','),
    'log.dirs': join(layout.folder, 'data'),
    'auto.create.topics.enable': 'false',
    'offsets.topic.replication.factor': '1',
    'offsets.topic.num.partitions': '4',
    'transaction.state.log.replication.factor': '1',
    'transaction.state.log.min.isr': '1',
    'group.initial.rebalance.delay.ms': '0',
    'num.network.threads': '2',
    'num.io.threads': '4',
    ...(layout.users ? securityProperties(layout.folder, layout.users) : {}),
    ...layout.config,
  }
  return Object.entries(lines)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('')
}

function securityProperties(folder: string, users: Record<string, string>): Record<string, string> {
  const accounts = Object.entries(users).map(([name, password]) => `user_${name}="${password}"`)
  return {
    'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
    // The plain listener stays free, so that a test can grant and look.
    'super.users': 'User:ANONYMOUS',
    'sasl.enabled.mechanisms': 'PLAIN',
    'listener.name.secure.plain.sasl.jaas.config': `org.apache.kafka.common.security.plain.PlainLoginModule required ${accounts.join(' ')};`,
    'listener.name.secure.ssl.keystore.location': join(folder, 'keystore.p12'),
    'listener.name.secure.ssl.keystore.type': 'PKCS12',
    'listener.name.secure.ssl.keystore.password': 'test-only',
  }
}

/** A self-signed certificate for 127.0.0.1 by the JDK's keytool. Answers it in PEM. */
function makeCertificate(folder: string): string {
  const store = ['-keystore', join(folder, 'keystore.p12'), '-storepass', 'test-only', '-alias', 'broker']
  const key = [
    '-genkeypair',
    '-storetype',
    'PKCS12',
    '-keyalg',
    'EC',
    '-groupname',
    'secp256r1',
    '-validity',
    '2',
  ]
  const name = ['-dname', 'CN=127.0.0.1', '-ext', 'san=ip:127.0.0.1', '-ext', 'bc=ca:true']
  execFileSync('keytool', [...key, ...store, ...name], { stdio: 'ignore' })
  return execFileSync('keytool', ['-exportcert', '-rfc', ...store], { encoding: 'utf8', stdio: 'pipe' })
}

function logConfiguration(folder: string): string {
  const file = join(folder, 'log4j2.properties')
  const lines = [
    'appender.console.type=Console',
    'appender.console.name=STDOUT',
    'appender.console.layout.type=PatternLayout',
    'appender.console.layout.pattern=%d{HH:mm:ss.SSS} %p %m (%c{1})%n',
    'rootLogger.level=info',
    'rootLogger.appenderRef.console.ref=STDOUT',
  ]
  writeFileSync(file, `${lines.join('\n')}\n`)
  return file
}

/** Each another. */
async function pickPorts(count: number): Promise<number[]> {
  const ports = new Set<number>()
  while (ports.size < count) ports.add(await pickFreePort())
  return [...ports]
}
