import type { Command } from 'commander'
import { type ApiList, apiPath } from './api-client.js'
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

type ListOptions = PageOptions & { stream?: string; type?: string; txn?: string; from?: string; to?: string }

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
  withApi<ListOptions>(
    cli,
    group
      .command('list')
      .description('what is parked now')
      .option('--stream <id>', 'of one stream')
      .option('--type <uri>', 'of one event type')
      .option('--txn <id>', 'of one cause')
      .option('--from <time>', 'parked since: a time, or 1h', parsePast)
      .option('--to <time>', 'parked before', parsePast)
      .option('--limit <n>', 'at most this many', parseCount)
      .option('--cursor <cursor>', 'go on where a list ended'),
    async ({ api, print }, { stream, ...filters }) => {
      const { type, txn, from, to, limit, cursor } = filters
      const query = { stream_id: stream, type, txn, from, to, limit, cursor }
      const list = await api.get<ApiList<Parked>>(apiPath('parked'), query)
      print(list, () =>
        list.items.length === 0 ? 'nothing is parked\n' : renderTable(COLUMNS, list.items) + moreHint(list),
      )
    },
  )
  const replay = group.command('replay').description('send it again, in its safe order').argument('<id>')
  examples(replay, ['parked list --stream 5f0c…', 'parked replay 81aa…'])
  withApi(cli, replay, async ({ api, print }, _options, [id = '']) => {
    const answer = await api.post<object>(apiPath('parked', id, 'replay'))
    print(answer, () => `replayed ${id}\n`)
  })
  withApi<{ reason?: string }>(
    cli,
    group
      .command('discard')
      .description('give it up for good; the audit log keeps who and why')
      .argument('<id>')
      .requiredOption('--reason <text>', 'why it may be lost'),
    async ({ api, print }, { reason }, [id = '']) => {
      const answer = await api.post<object>(apiPath('parked', id, 'discard'), { reason })
      print(answer, () => `discarded ${id}\n`)
    },
  )
}
