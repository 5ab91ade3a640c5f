import { type ParseArgsConfig, parseArgs } from 'node:util'

const LOGS = ['postgres', 'kafka'] as const
export type Log = (typeof LOGS)[number]

/** How long one scenario's measurements are. */
export interface Plan {
  /** Times that bare process and hub are measured in turn. */
  readonly rounds: number
  /** The highest rate is held this long. */
  readonly confirmS: number
  /** A try in the search. */
  readonly probeS: number
  /** At each of the three latency levels. */
  readonly latencyS: number
}

export interface BenchOptions {
  readonly logs: readonly Log[]
  readonly streams: readonly number[]
  /** For the stream count that the aims speak of. */
  readonly mainPlan: Plan
  readonly sidePlan: Plan
  readonly json: boolean
  readonly readme: boolean
  readonly profileFolder?: string
}

export const MAIN_STREAMS = 5

export const HELP = `npm run bench -- [options]

  --log postgres|kafka|both   default both (Kafka needs the jars of \`npm run setup:test\`)
  --streams 1,5,100,1000      stream counts; default all four
  --seconds 30                how long the highest rate is held
  --rounds 3                  rounds of bare process and hub in turn, at 5 streams (others: 1)
  --quick                     Postgres log, 5 streams, one short round: about 80 s
  --json                      the result as JSON on standard output
  --readme                    also writes the table into README.md
  --profile FOLDER            a V8 CPU profile of each hub

npm run bench -- scale        what grows with what (its own options: -- scale --help)
npm run bench -- promises     neighbours, backlogs, polls, memory, queries (its own options: -- promises --help)

The whole default run takes about 25 minutes. Progress is on standard error.
`

/** A wrong option, in words for who typed it. */
export class OptionError extends Error {}

/** `undefined`: help was asked for. @throws OptionError */
export function parseOptions(args: readonly string[]): BenchOptions | undefined {
  const values = readOptions(args, OPTIONS)
  if (values.help) return undefined
  const quick = values.quick === true
  const seconds = whole('--seconds', values.seconds, quick ? 8 : 30)
  const rounds = whole('--rounds', values.rounds, quick ? 1 : 3)
  const short = { confirmS: seconds, probeS: quick ? 3 : 4, latencyS: quick ? 4 : 5 }
  return {
    logs: parseLogs(values.log ?? (quick ? 'postgres' : 'both')),
    streams: parseStreams(values.streams ?? (quick ? `${MAIN_STREAMS}` : '1,5,100,1000')),
    mainPlan: { ...short, rounds },
    sidePlan: { ...short, rounds: 1 },
    json: values.json === true,
    readme: values.readme === true,
    ...(values.profile === undefined ? {} : { profileFolder: values.profile }),
  }
}

const OPTIONS = {
  log: { type: 'string' },
  streams: { type: 'string' },
  seconds: { type: 'string' },
  rounds: { type: 'string' },
  profile: { type: 'string' },
  quick: { type: 'boolean' },
  json: { type: 'boolean' },
  readme: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const

/** Options by name, and nothing else. @throws OptionError */
export function readOptions<T extends NonNullable<ParseArgsConfig['options']>>(
  args: readonly string[],
  options: T,
): ReturnType<typeof parseArgs<{ options: T; strict: true }>>['values'] {
  try {
    return parseArgs({ args: [...args], options, strict: true, allowPositionals: false }).values
  } catch (error) {
    throw new OptionError((error as Error).message)
  }
}

function parseLogs(text: string): Log[] {
  if (text === 'both') return [...LOGS]
  const log = LOGS.find((name) => name === text)
  if (!log) throw new OptionError(`--log: write postgres, kafka or both, not ${text}`)
  return [log]
}

function parseStreams(text: string): number[] {
  return text.split(',').map((part) => whole('--streams', part.trim(), 0, 5_000))
}

function whole(name: string, text: string | undefined, fallback: number, max = 600): number {
  if (text === undefined) return fallback
  const value = Number(text)
  if (Number.isInteger(value) && value >= 1 && value <= max) return value
  throw new OptionError(`${name}: write a whole number from 1 to ${max}, not ${text}`)
}
