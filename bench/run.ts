import { mkdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startKafka } from '../test/support/kafka.js'
import { startHubUnderTest } from './hub-under-test.js'
import { type Kit, openBare, openKit, type Tools, withCleanups } from './kit.js'
import { type BenchOptions, HELP, type Log, MAIN_STREAMS, OptionError, parseOptions } from './options.js'
import { findChildPid } from './process-usage.js'
import { runPromisesCommand } from './promises/command.js'
import { renderNotes, renderTable, summarise, writeMarked } from './report.js'
import { runScaleCommand } from './scale/command.js'
import { runScenario, type ScenarioResult } from './scenario.js'

const README = fileURLToPath(new URL('../../README.md', import.meta.url))
const EXIT_INTERRUPTED = 130

class Interrupted extends Error {}

function createSay(): (text: string) => void {
  const beganMs = performance.now()
  return (text) => {
    const seconds = Math.round((performance.now() - beganMs) / 1000)
    process.stderr.write(`${String(seconds).padStart(5)} s  ${text}\n`)
  }
}

function measure(options: BenchOptions, { signal, say }: Tools): Promise<ScenarioResult[]> {
  return withCleanups(signal, async (cleanups) => {
    const kit = openKit(signal, cleanups)
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
  })
}

interface Scenario {
  readonly log: Log
  readonly streams: number
  readonly options: BenchOptions
  readonly signal: AbortSignal
  say(text: string): void
}

/** Every scenario has a hub, a database and a broker of its own, so that none inherits another's history. */
function measureOne(kit: Kit, { log, streams, options, signal, say }: Scenario): Promise<ScenarioResult> {
  return withCleanups(signal, async (cleanups) => {
    const endpoints = await kit.sink.ask<string[]>('open', { streams })
    const bare = await openBare(kit, endpoints, { signal, cleanups })
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
    return await runScenario({ log, plan, hub, bare, runLoad: kit.runLoad, say })
  })
}

async function run(): Promise<number> {
  const [first, ...rest] = process.argv.slice(2)
  const interruption = new AbortController()
  const interrupt = (): void => interruption.abort(new Interrupted())
  process.on('SIGINT', interrupt)
  process.on('SIGTERM', interrupt)
  const command = { scale: runScaleCommand, promises: runPromisesCommand }[first ?? '']
  if (command) {
    await command(rest, { signal: interruption.signal, say: createSay() })
    return 0
  }
  const options = parseOptions(process.argv.slice(2))
  if (!options) {
    process.stdout.write(HELP)
    return 0
  }
  if (options.profileFolder !== undefined) mkdirSync(resolve(options.profileFolder), { recursive: true })
  const results = await measure(options, { signal: interruption.signal, say: createSay() })
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
