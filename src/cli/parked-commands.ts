import type { Command } from 'commander'
import { type ApiClient, type ApiList, apiPath } from './api-client.js'
import { WrongUse } from './cli-errors.js'
import { type Cli, examples, moreHint, type PageOptions, withApi } from './command.js'
import { type Column, renderTable } from './table.js'
import { parseCount, parsePast } from './time-option.js'

interface Parked {
  id: string
  parked_at: string
  kind: string
  code: string
  reason: string
  type?: string | null
  stream_id?: string | null
  txn?: string | null
}

interface MatchOptions {
  stream?: string
  type?: string
  txn?: string
  code?: string
  from?: string
  to?: string
}

/** Of a call about many; the hub says how often to ask. */
interface Settled {
  replayed?: number
  discarded?: number
  left: number
  more: boolean
  to: string
}

const COLUMNS: Column<Parked>[] = [
  { title: 'ID', value: (row) => row.id },
  { title: 'PARKED AT', value: (row) => row.parked_at },
  { title: 'KIND', value: (row) => row.kind },
  { title: 'TYPE', value: (row) => row.type?.slice(row.type.lastIndexOf('/') + 1) },
  { title: 'STREAM', value: (row) => row.stream_id },
  { title: 'CODE', value: (row) => row.code },
  { title: 'REASON', value: (row) => row.reason },
]

/** What cannot go on by itself: rejected SETs, bad records. */
export function addParkedCommands(cli: Cli, program: Command): void {
  const group = program
    .command('parked')
    .description('SETs and records that were set aside, each with its reason')
  withApi<PageOptions & MatchOptions>(
    cli,
    matchOptions(group.command('list').description('what is parked now'))
      .option('--limit <n>', 'at most this many', parseCount)
      .option('--cursor <cursor>', 'go on where a list ended'),
    async ({ api, print }, { limit, cursor, ...match }) => {
      const query = { ...filterOf(match), limit, cursor }
      const list = await api.get<ApiList<Parked>>(apiPath('parked'), query)
      print(list, () =>
        list.items.length === 0 ? 'nothing is parked\n' : renderTable(COLUMNS, list.items) + moreHint(list),
      )
    },
  )
  const replay = matchOptions(
    group.command('replay').description('send it again, in its safe order').argument('[id]', 'or a filter'),
  )
  examples(replay, [
    'parked list --stream 5f0c…',
    'parked replay 81aa…',
    'parked replay --stream 5f0c… --from 2h',
  ])
  withApi<MatchOptions>(cli, replay, async ({ api, print }, match, [id]) => {
    const filter = oneOrMany(id, match)
    if (filter === undefined) {
      const answer = await api.post<object>(apiPath('parked', id as string, 'replay'))
      print(answer, () => `replayed ${id}\n`)
      return
    }
    const answer = await settleAll(api, 'replay', { filter })
    const left =
      answer.left > 0 ? `, ${answer.left} cannot be: their stream is disabled, or they are too old` : ''
    print(answer, () => `replayed ${answer.replayed}${left}\n`)
  })
  withApi<MatchOptions & { reason?: string }>(
    cli,
    matchOptions(
      group
        .command('discard')
        .description('give it up for good; the audit log keeps who and why')
        .argument('[id]', 'or a filter'),
    ).requiredOption('--reason <text>', 'why it may be lost'),
    async ({ api, print }, { reason, ...match }, [id]) => {
      const filter = oneOrMany(id, match)
      if (filter === undefined) {
        const answer = await api.post<object>(apiPath('parked', id as string, 'discard'), { reason })
        print(answer, () => `discarded ${id}\n`)
        return
      }
      const answer = await settleAll(api, 'discard', { filter, reason })
      print(answer, () => `discarded ${answer.discarded}\n`)
    },
  )
}

function matchOptions(command: Command): Command {
  return command
    .option('--stream <id>', 'of one stream')
    .option('--type <uri>', 'of one event type')
    .option('--txn <id>', 'of one cause')
    .option('--code <code>', 'set aside for one cause, such as invalid_key')
    .option('--from <time>', 'parked since: a time, or 1h', parsePast)
    .option('--to <time>', 'parked before', parsePast)
}

type Filter = Partial<Record<'stream_id' | 'type' | 'txn' | 'code' | 'from' | 'to', string | undefined>>

function filterOf({ stream, type, txn, code, from, to }: MatchOptions): Filter {
  return { stream_id: stream, type, txn, code, from, to }
}

/** The filter, or undefined when it is about one id. @throws WrongUse when it is about neither, or both */
function oneOrMany(id: string | undefined, match: MatchOptions): Filter | undefined {
  const filter = filterOf(match)
  const hasFilter = Object.values(filter).some((value) => value !== undefined)
  if (id !== undefined && !hasFilter) return undefined
  if (id === undefined && hasFilter) return filter
  throw new WrongUse('Name one id, or a filter: --stream, --type, --txn, --code, --from, --to.')
}

/** Asks until all that matched at the first call is done; the answer tells of all calls together. */
async function settleAll(
  api: ApiClient,
  verb: 'replay' | 'discard',
  body: { filter: Filter; reason?: string | undefined },
): Promise<Settled> {
  const done = { replay: 'replayed', discard: 'discarded' } as const
  let count = 0
  let { filter } = body
  for (;;) {
    const answer = await api.post<Settled>(apiPath('parked', verb), { ...body, filter })
    count += answer[done[verb]] ?? 0
    if (!answer.more) return { ...answer, [done[verb]]: count }
    filter = { ...filter, to: answer.to }
  }
}
