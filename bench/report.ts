import { readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import type { LoadResult } from './load.js'
import { type Log, MAIN_STREAMS } from './options.js'
import { PARTS, type Part } from './process-usage.js'
import { LEVELS, type Round, type ScenarioResult } from './scenario.js'
import { median, medianRatio } from './statistics.js'

interface LevelSummary {
  readonly share: number
  readonly bareP50Ms: number
  readonly bareP99Ms: number
  readonly hubP50Ms: number
  readonly hubP99Ms: number
  /** Median over the rounds of hub p99 by bare p99. */
  readonly p99Ratio: number
}

export interface ScenarioSummary {
  readonly log: Log
  readonly streams: number
  readonly rounds: number
  readonly barePerS: number
  readonly hubPerS: number
  /** Median over the rounds of hub rate by bare rate. */
  readonly ratio: number
  /** False when a round's rate did not hold for the full time. */
  readonly held: boolean
  readonly levels: readonly LevelSummary[]
  /** At the highest rate, µs per delivery. */
  readonly cpuUs: Partial<Record<Part, number>>
  readonly bareCpuUs: number | undefined
  readonly memoryMb: Partial<Record<Part, number>>
  /** Accepted and never arrived, in all runs. */
  readonly lost: number
  readonly duplicates: number
}

const LOG_NAMES: Record<Log, string> = { postgres: 'Postgres', kafka: 'Kafka' }
const BEGIN = '<!-- bench -->'
const END = '<!-- /bench -->'
/** Stream counts that the aims are for. */
const AIM_STREAMS: readonly number[] = [MAIN_STREAMS, 1_000]
const AIM_RATIO = 0.7
const AIM_P99: Record<Log, number> = { postgres: 3, kafka: 4 }
const AIM_SHARE = 0.3
const AIM_CPU = { times: 1.5, plusUs: 60 }

export function summarise({ log, streams, rounds }: ScenarioResult): ScenarioSummary {
  const over = (pick: (round: Round) => number): number => median(rounds.map(pick))
  const hubRuns = rounds.flatMap((round) => [round.hubRun, ...round.levels.map(({ hub }) => hub)])
  const sum = (pick: (run: LoadResult) => number): number => hubRuns.reduce((all, run) => all + pick(run), 0)
  return {
    log,
    streams,
    rounds: rounds.length,
    barePerS: over((round) => round.barePerS),
    hubPerS: over((round) => round.hubPerS),
    ratio: medianRatio(rounds.map((round) => [round.hubPerS, round.barePerS])),
    held: rounds.every((round) => round.hubHeld),
    levels: LEVELS.map((share) => summariseLevel(share, rounds)),
    cpuUs: byPart((part) => median(rounds.flatMap((round) => round.hubRun.cpuUs[part] ?? []))),
    bareCpuUs:
      rounds[0]?.bareRun.cpuUs.hub === undefined ? undefined : over((round) => round.bareRun.cpuUs.hub ?? 0),
    memoryMb: byPart((part) => Math.max(...hubRuns.flatMap((run) => run.memoryMb[part] ?? []))),
    lost: sum((run) => run.missing),
    duplicates: sum((run) => run.duplicates),
  }
}

function summariseLevel(share: number, rounds: readonly Round[]): LevelSummary {
  const levels = rounds.flatMap((round) => round.levels.filter((level) => level.share === share))
  return {
    share,
    bareP50Ms: median(levels.map(({ bare }) => bare.p50Ms)),
    bareP99Ms: median(levels.map(({ bare }) => bare.p99Ms)),
    hubP50Ms: median(levels.map(({ hub }) => hub.p50Ms)),
    hubP99Ms: median(levels.map(({ hub }) => hub.p99Ms)),
    p99Ratio: medianRatio(levels.map(({ hub, bare }) => [hub.p99Ms, bare.p99Ms])),
  }
}

function byPart(pick: (part: Part) => number): Partial<Record<Part, number>> {
  return Object.fromEntries(
    PARTS.map((part) => [part, pick(part)]).filter(([, value]) => Number.isFinite(value)),
  )
}

/** The table in Markdown, which reads well enough on a terminal. */
export function renderTable(summaries: readonly ScenarioSummary[]): string {
  const header = [
    'Log',
    'Streams',
    'Highest rate, events/s',
    'Bare process',
    'Ratio',
    ...LEVELS.map((share) => `p50 / p99 ms at ${share * 100} % (bare)`),
    'CPU µs per delivery: hub + Postgres + Kafka (bare)',
    'Memory MB: hub, Postgres, Kafka',
  ]
  const rows = summaries.map((summary) => [
    LOG_NAMES[summary.log],
    String(summary.streams),
    `${below(summary)}${rate(summary.hubPerS)}`,
    rate(summary.barePerS),
    `${below(summary)}${summary.ratio.toFixed(2)}`,
    ...summary.levels.map(
      (level) =>
        `${ms(level.hubP50Ms)} / ${ms(level.hubP99Ms)} (${ms(level.bareP50Ms)} / ${ms(level.bareP99Ms)})`,
    ),
    `${parts(summary.cpuUs, ' + ')}${summary.bareCpuUs === undefined ? '' : ` (${Math.round(summary.bareCpuUs)})`}`,
    parts(summary.memoryMb, ', '),
  ])
  return [header, header.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

/** What the figures mean, and whether the aims are met. */
export function renderNotes(summaries: readonly ScenarioSummary[]): string {
  const notes = [
    `\`npm run bench\` on ${availableParallelism()} cores that senders, hub, Postgres, Kafka and receivers share; Node ${process.versions.node}.`,
    'Every stream has a receiver, an audience and an RS256 signature of its own. Latency runs from the intended send time to the arrival at the receiver; levels are shares of the bare process’s highest rate. The bare process verifies, keeps nothing, signs and posts.',
  ]
  for (const summary of summaries) {
    const name = `${LOG_NAMES[summary.log]} log, ${summary.streams} streams`
    if (summary.lost > 0) notes.push(`${name}: ${summary.lost} accepted deliveries did not arrive in time.`)
    if (AIM_STREAMS.includes(summary.streams)) notes.push(renderAims(summary, name))
  }
  return notes.map((note) => `- ${note}`).join('\n')
}

function renderAims(summary: ScenarioSummary, name: string): string {
  const level = summary.levels.find(({ share }) => share === AIM_SHARE)
  const p99Ratio = level?.p99Ratio ?? Number.NaN
  const aims = [
    {
      text: `${below(summary)}${summary.ratio.toFixed(2)} of the bare rate (aim: at least ${AIM_RATIO}`,
      met: summary.held && summary.ratio >= AIM_RATIO,
    },
    {
      text: `p99 at 30 % ${p99Ratio.toFixed(1)} times the bare one (aim: at most ${AIM_P99[summary.log]}`,
      met: p99Ratio <= AIM_P99[summary.log],
    },
  ]
  if (summary.bareCpuUs !== undefined) {
    const cpuUs = Object.values(summary.cpuUs).reduce((sum, us) => sum + us, 0)
    const most = AIM_CPU.times * summary.bareCpuUs + AIM_CPU.plusUs
    aims.push({
      text: `CPU per delivery of all parts ${Math.round(cpuUs)} µs (aim: at most ${AIM_CPU.times} times the bare one and ${AIM_CPU.plusUs} µs: ${Math.round(most)}`,
      met: cpuUs <= most,
    })
  }
  return `${name}: ${aims.map(({ text, met }) => `${text}, ${met ? 'met' : 'missed'})`).join('; ')}.`
}

/** A rate that did not hold for the full time is only a bound. */
const below = (summary: ScenarioSummary): string => (summary.held ? '' : '< ')
const rate = (perS: number): string => (perS >= 100 ? perS.toFixed(0) : perS.toFixed(1))
const ms = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toFixed(1))
const parts = (values: Partial<Record<Part, number>>, separator: string): string =>
  PARTS.flatMap((part) => (values[part] === undefined ? [] : Math.round(values[part]))).join(separator) ||
  'unknown'

/** Replaces what stands between the two marks. @throws Error when they are not there, in this order */
export function replaceMarked(text: string, content: string): string {
  const from = text.indexOf(BEGIN)
  const to = text.indexOf(END)
  if (from < 0 || to < from)
    throw new Error(`The document has no ${BEGIN} … ${END}: add both where the table belongs.`)
  return `${text.slice(0, from + BEGIN.length)}\n${content}\n${text.slice(to)}`
}

export function writeMarked(file: string, content: string): void {
  writeFileSync(file, replaceMarked(readFileSync(file, 'utf8'), content))
}
