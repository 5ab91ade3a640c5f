import { mkdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startKafka } from '../test/support/kafka.js'
import { type BenchChild, startChild } from './child.js'
import { startHubUnderTest } from './hub-under-test.js'
import { createLoadRunner, type LoadKit, type RunLoad, type SystemUnderTest } from './load.js'
import { type BenchOptions, HELP, type Log, MAIN_STREAMS, OptionError, parseOptions } from './options.js'
import { findChildPid } from './process-usage.js'
import { renderNotes, renderTable, summarise, writeMarked } from './report.js'
import { runScaleCommand } from './scale/command.js'
import { runScenario, type ScenarioResult } from './scenario.js'
import { createSourceIdentity } from './source-identity.js'

const README = fileURLToPath(new URL('../../README.md', import.meta.url))
const EXIT_INTERRUPTED = 130

class Interrupted extends Error {}

/** What must be undone, whatever happens; the last first. */
type Cleanups = (() => Promise<void>)[]

interface Kit extends LoadKit {
  readonly runLoad: RunLoad
}

async function undo(cleanups: Cleanups): Promise<void> {
  for (const cleanup of cleanups.splice(0).reverse()) {
    await cleanup().catch((error: unknown) => process.stderr.write(`${String(error)}\n`))
  }
}

function createSay(): (text: string) => void {
  const beganMs = performance.now()
  return (text) => {
    const seconds = Math.round((performance.now() - beganMs) / 1000)
    process.stderr.write(`${String(seconds).padStart(5)} s  ${text}\n`)
  }
}

async function measure(options: BenchOptions, signal: AbortSignal): Promise<ScenarioResult[]> {
  const say = createSay()
  const cleanups: Cleanups = []
  const keep = (child: BenchChild): BenchChild => {
    cleanups.push(() => child.stop())
    return child
  }
  try {
    const source = createSourceIdentity()
    const parts = {
      driver: keep(startChild('driver', { signal })),
      sink: keep(startChild('sink', { signal })),
    }
    const kit: Kit = { ...parts, source, runLoad: createLoadRunner({ ...parts, source }) }
    const results: ScenarioResult[] = []
    for (const log of options.logs) {
      for (const streams of options.streams) {
        const name = `${log} log, ${streams} stream${streams === 1 ? '' : 's'}`
        say(`${name}: starting`)
        results.push(
          await measureOne(kit, { log, streams, options, signal, say: (text) => say(`${name}: ${text}`) }),
        )
      }
    }
    return results
  } finally {
    await undo(cleanups)
  }
}

interface Scenario {
  readonly log: Log
  readonly streams: number
  readonly options: BenchOptions
  readonly signal: AbortSignal
  say(text: string): void
}

/** Every scenario has a hub, a database and a broker of its own, so that none inherits another's history. */
async function measureOne(kit: Kit, scenario: Scenario): Promise<ScenarioResult> {
  const { log, streams, options, signal } = scenario
  const cleanups: Cleanups = []
  try {
    const endpoints = await kit.sink.ask<string[]>('open', { streams })
    const bareChild = startChild('bare', { signal })
    cleanups.push(() => bareChild.stop())
    const bare = await openBare(bareChild, kit, endpoints)
    const broker = log === 'kafka' ? await startKafka() : undefined
    if (broker) cleanups.push(() => broker.remove())
    const hub = await startHubUnderTest({
      source: kit.source,
      endpoints,
      signal,
      ...(broker && { kafka: { brokers: broker.brokers, pid: findChildPid(process.pid, 'kafka.Kafka') } }),
      ...(options.profileFolder === undefined ? {} : { profileFolder: options.profileFolder }),
    })
    cleanups.push(() => hub.stop())
    const plan = streams === MAIN_STREAMS ? options.mainPlan : options.sidePlan
    return await runScenario({ log, plan, hub, bare, runLoad: kit.runLoad, say: scenario.say })
  } finally {
    await undo(cleanups)
  }
}

async function openBare(
  child: BenchChild,
  { source }: Kit,
  endpoints: readonly string[],
): Promise<SystemUnderTest> {
  const { publicJwk, kid, issuer, audience } = source
  const ingestUrl = await child.ask<string>('serve', { publicJwk, kid, issuer, audience, endpoints })
  return { name: 'bare', ingestUrl, streams: endpoints.length, pids: { hub: child.pid } }
}

async function run(): Promise<number> {
  const [first, ...rest] = process.argv.slice(2)
  const interruption = new AbortController()
  const interrupt = (): void => interruption.abort(new Interrupted())
  process.on('SIGINT', interrupt)
  process.on('SIGTERM', interrupt)
  if (first === 'scale') {
    await runScaleCommand(rest, { signal: interruption.signal, say: createSay() })
    return 0
  }
  const options = parseOptions(process.argv.slice(2))
  if (!options) {
    process.stdout.write(HELP)
    return 0
  }
  if (options.profileFolder !== undefined) mkdirSync(resolve(options.profileFolder), { recursive: true })
  const results = await measure(options, interruption.signal)
  const summaries = results.map(summarise)
  const table = `${renderTable(summaries)}\n\n${renderNotes(summaries)}`
  process.stdout.write(
    options.json ? `${JSON.stringify({ summaries, results }, undefined, 2)}\n` : `${table}\n`,
  )
  if (options.readme) writeMarked(README, table)
  return 0
}

run().then(
  (code) => {
    process.exitCode = code
  },
  (error: unknown) => {
    if (error instanceof Interrupted) process.stderr.write('Interrupted; everything it started has ended.\n')
    else if (error instanceof OptionError) process.stderr.write(`${error.message}\n\n${HELP}`)
    else process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
    process.exitCode = error instanceof Interrupted ? EXIT_INTERRUPTED : error instanceof OptionError ? 2 : 1
  },
)
