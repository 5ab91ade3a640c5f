import { OptionError, readOptions } from '../options.js'

/** How large the large side is. The small side is the same for every run. */
export interface ScaleSize {
  readonly streams: number
  /** In the filters of receivers whose default is NONE, a quarter of them complex. */
  readonly subjects: number
  /** Deliveries that nobody takes: paused, at an endpoint that fails, or waiting for a poll. */
  readonly open: number
}

export interface ScaleOptions extends ScaleSize {
  /** Of each hub process, V8's limit. */
  readonly heapMb: number
  /** Fewer events per measurement, and no claim that the figures mean much. */
  readonly quick: boolean
  readonly json: boolean
  /** Also the statements that cost the database most, at each size. */
  readonly detail: boolean
  /** Writes the table into docs/scale.md. */
  readonly document: boolean
}

export const SMALL: ScaleSize = { streams: 10, subjects: 1_000, open: 0 }

export const SCALE_HELP = `npm run bench -- scale [options]

  --streams 10000     streams, push and poll, a fifth of them with subject filters
  --subjects 1000000  subjects in those filters
  --open 1000000      open deliveries
  --heap 512          MB of heap that each hub process may take
  --quick             200 streams, 5,000 subjects, 10,000 open, few events: about 90 s
  --detail            also the costliest statements at each size
  --json              the result as JSON on standard output
  --docs              also writes the table into docs/scale.md

One database grows from small to large: streams, then subjects, then open deliveries. After each step the hub is started
anew and measured. The default run takes about 8 minutes. Progress is on standard error.
`

const QUICK: ScaleSize = { streams: 200, subjects: 5_000, open: 10_000 }
const FULL: ScaleSize = { streams: 10_000, subjects: 1_000_000, open: 1_000_000 }

const OPTIONS = {
  streams: { type: 'string' },
  subjects: { type: 'string' },
  open: { type: 'string' },
  heap: { type: 'string' },
  quick: { type: 'boolean' },
  json: { type: 'boolean' },
  detail: { type: 'boolean' },
  docs: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const

/** `undefined`: help was asked for. @throws OptionError */
export function parseScaleOptions(args: readonly string[]): ScaleOptions | undefined {
  const values = readOptions(args, OPTIONS)
  if (values.help) return undefined
  const size = values.quick ? QUICK : FULL
  return {
    streams: whole('--streams', values.streams, { fallback: size.streams, min: SMALL.streams, max: 100_000 }),
    subjects: whole('--subjects', values.subjects, {
      fallback: size.subjects,
      min: SMALL.subjects,
      max: 20_000_000,
    }),
    open: whole('--open', values.open, { fallback: size.open, min: 1_000, max: 20_000_000 }),
    heapMb: whole('--heap', values.heap, { fallback: 512, min: 64, max: 65_536 }),
    quick: values.quick === true,
    json: values.json === true,
    detail: values.detail === true,
    document: values.docs === true,
  }
}

function whole(
  name: string,
  text: string | undefined,
  { fallback, min, max }: { fallback: number; min: number; max: number },
): number {
  if (text === undefined) return fallback
  const value = Number(text)
  if (Number.isInteger(value) && value >= min && value <= max) return value
  throw new OptionError(`${name}: write a whole number from ${min} to ${max}, not ${text}`)
}
