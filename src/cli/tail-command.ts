import { type Command, Option } from 'commander'
import { type ApiClient, type ApiList, apiPath } from './api-client.js'
import { HubRefused, HubUnreachable, WrongUse } from './cli-errors.js'
import { type Colour, paint } from './cli-io.js'
import { type ApiCall, type Cli, examples, pause, withApi } from './command.js'
import { cellText } from './table.js'
import { parseDuration, parsePast } from './time-option.js'

type Kind = 'events' | 'deliveries'

interface Item extends Record<string, unknown> {
  accepted_at: string
}

interface TailOptions {
  eventsOnly?: boolean
  deliveriesOnly?: boolean
  type?: string
  stream?: string
  txn?: string
  from?: string
  interval: number
}

/** A delivery changes state long after its event was accepted, so each look goes back this far. */
const LOOK_BACK_MS = 60_000
const MAX_PAGES = 50
const LATER_TIMES = ['delivered_at', 'received_at', 'finished_at']
const STATE_COLOURS: Record<string, Colour> = {
  received: 'green',
  parked: 'red',
  quarantined: 'red',
  queued: 'yellow',
}

/** Follows what comes in and what goes out, one line each, until Ctrl-C. */
export function addTailCommand(cli: Cli, program: Command): void {
  const command = program
    .command('tail')
    .description('follow events and deliveries live, until Ctrl-C')
    .option('--events-only', 'what came in')
    .option('--deliveries-only', 'what went out')
    .option('--type <uri>', 'only this event type')
    .option('--stream <id>', 'only deliveries on this stream')
    .option('--txn <id>', 'only this cause')
    .option('--from <time>', 'begin in the past: a time, or 10m', parsePast)
    .addOption(
      new Option('--interval <duration>', 'how often to look').argParser(parseDuration).default(500, '500ms'),
    )
  examples(command, ['tail', 'tail --from 1h --deliveries-only', 'tail --json | jq .type'])
  withApi<TailOptions>(cli, command, async (call, options) => {
    if (options.eventsOnly && options.deliveriesOnly) {
      throw new WrongUse('--events-only and --deliveries-only leave nothing to show')
    }
    if (options.interval < 100) throw new WrongUse('--interval must be at least 100ms')
    await follow(call, options)
  })
}

async function follow(call: ApiCall, options: TailOptions): Promise<void> {
  const startMs = options.from ? Date.parse(options.from) : Date.now()
  const kinds: Kind[] = [
    ...(options.deliveriesOnly ? [] : (['events'] as const)),
    ...(options.eventsOnly ? [] : (['deliveries'] as const)),
  ]
  const tails = kinds.map((kind) => createTail(kind, startMs))
  let reached = false
  for (;;) {
    try {
      for (const tail of tails) {
        for (const item of await tail.next(call.api, options)) printItem(call, tail.kind, item)
      }
      reached = true
    } catch (error) {
      // Once it has worked, a hub that restarts is waited for.
      const passing =
        error instanceof HubUnreachable ||
        (error instanceof HubRefused && (error.httpStatus >= 500 || error.httpStatus === 429))
      if (!reached || !passing) throw error
      call.io.err(`${error.message} Waiting.\n`)
      await pause(2_000, call.signal)
    }
    await pause(options.interval, call.signal)
  }
}

/** Remembers what it has shown: the same delivery is shown again only when its state changed. */
function createTail(kind: Kind, startMs: number) {
  let fromMs = startMs
  const shown = new Map<string, number>()

  return {
    kind,
    async next(api: ApiClient, options: TailOptions): Promise<Item[]> {
      const items = await readAll(api, kind, {
        from: new Date(fromMs).toISOString(),
        type: options.type,
        txn: options.txn,
        ...(kind === 'deliveries' && { stream_id: options.stream }),
      })
      const fresh = items.filter((item) => !shown.has(keyOf(item)))
      for (const item of fresh) shown.set(keyOf(item), Date.parse(item.accepted_at))
      const newestMs = Math.max(fromMs, ...fresh.map((item) => Date.parse(item.accepted_at)))
      fromMs = Math.max(fromMs, startMs, newestMs - LOOK_BACK_MS)
      for (const [key, atMs] of shown) if (atMs < fromMs) shown.delete(key)
      return fresh.sort((a, b) => timeOf(a).localeCompare(timeOf(b)))
    },
  }
}

async function readAll(
  api: ApiClient,
  kind: Kind,
  query: Record<string, string | undefined>,
): Promise<Item[]> {
  const items: Item[] = []
  let cursor: string | undefined
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const list = await api.get<ApiList<Item>>(apiPath(kind), { ...query, cursor })
    items.push(...list.items)
    if (!list.next) break
    cursor = list.next
  }
  return items
}

const keyOf = (item: Item): string => [item.event_id, item.stream_id, item.state, item.attempts].join(' ')

function nameOf(value: unknown): string {
  const { id, name } = (value ?? {}) as { id?: unknown; name?: unknown }
  return cellText(name ?? id)
}

/** When the newest thing happened to it. */
function timeOf(item: Item): string {
  const later = LATER_TIMES.map((name) => item[name]).filter((value) => typeof value === 'string')
  return [item.accepted_at, ...later].sort().at(-1) ?? item.accepted_at
}

function printItem({ io, json }: ApiCall, kind: Kind, item: Item): void {
  if (json) {
    io.out(`${JSON.stringify(item)}\n`)
    return
  }
  const type = cellText(item.type).replace(/^.*\//, '')
  const arrow = kind === 'events' ? paint(io, 'bold', '⇒ in ') : '→ out'
  const state = cellText(item.state ?? item.lane)
  const rest =
    kind === 'events'
      ? `from=${nameOf(item.source)} txn=${cellText(item.txn)}`
      : `to=${nameOf(item.receiver)} stream=${cellText(item.stream_id)} jti=${cellText(item.jti)} attempts=${cellText(item.attempts)}`
  const failure = item.failure ? ` failure=${cellText(item.failure)}` : ''
  const clock = timeOf(item).slice(11, 23)
  io.out(`${clock} ${arrow} ${type} ${paint(io, STATE_COLOURS[state] ?? 'grey', state)} ${rest}${failure}\n`)
}
