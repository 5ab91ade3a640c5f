import { OptionError, readOptions } from '../options.js'

const MEASURE_NAMES = ['burst', 'stall', 'backlog', 'polls', 'history', 'soak'] as const
export type MeasureName = (typeof MEASURE_NAMES)[number]

export interface PromisesOptions {
  readonly only: readonly MeasureName[]
  /** Short and small: shows that it runs, and says nothing about the figures. */
  readonly quick: boolean
  readonly json: boolean
  /** Writes the table into docs/promises.md. */
  readonly document: boolean
  /** For V8 CPU profiles of the hubs. */
  readonly profileFolder?: string
}

export const PROMISES_HELP = `npm run bench -- promises [options]

  --only burst,polls  some of: ${MEASURE_NAMES.join(', ')}; default all
  --quick             short and small: about 3 minutes, and no figures to go by
  --json              the findings as JSON on standard output
  --profile FOLDER    a V8 CPU profile of each hub
  --docs              also writes the table into docs/promises.md (with all measures, not --quick)

burst     one event to 1,000 receivers, against the bare process
stall     one endpoint that never answers, of 10 and of 1,000
backlog   revocations behind 200,000 open deliveries
polls     polls of 100 SETs with their acknowledgements
history   time to revoke over 10,000,000 acknowledgements
soak      memory over ten minutes of load

All of it takes about 40 minutes. Progress is on standard error.
`

const OPTIONS = {
  only: { type: 'string' },
  profile: { type: 'string' },
  quick: { type: 'boolean' },
  json: { type: 'boolean' },
  docs: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const

/** `undefined`: help was asked for. @throws OptionError */
export function parsePromisesOptions(args: readonly string[]): PromisesOptions | undefined {
  const values = readOptions(args, OPTIONS)
  if (values.help) return undefined
  const quick = values.quick === true
  const document = values.docs === true
  if (document && (quick || values.only !== undefined))
    throw new OptionError(
      '--docs: the document holds all figures at full size, so leave --quick and --only out',
    )
  return {
    only: values.only === undefined ? MEASURE_NAMES : values.only.split(',').map(measureName),
    quick,
    json: values.json === true,
    document,
    ...(values.profile === undefined ? {} : { profileFolder: values.profile }),
  }
}

function measureName(text: string): MeasureName {
  const name = MEASURE_NAMES.find((known) => known === text.trim())
  if (!name) throw new OptionError(`--only: write some of ${MEASURE_NAMES.join(', ')}, not ${text}`)
  return name
}
