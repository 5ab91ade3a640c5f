import { type Command, Option } from 'commander'
import { type ApiList, apiPath } from './api-client.js'
import { type Cli, examples, withApi } from './command.js'
import { type Column, renderTable } from './table.js'

interface Key {
  kid: string
  use: string
  alg: string
  state: string
  origin: string
  active_from: string
  retires_at: string | null
  retired_at: string | null
}

const COLUMNS: Column<Key>[] = [
  { title: 'KID', value: (row) => row.kid },
  { title: 'USE', value: (row) => row.use },
  { title: 'ALG', value: (row) => row.alg },
  { title: 'STATE', value: (row) => row.state },
  { title: 'SIGNS FROM', value: (row) => row.active_from },
  { title: 'RETIRES', value: (row) => row.retired_at ?? row.retires_at },
  { title: 'ORIGIN', value: (row) => row.origin },
]

/** The keys by which the hub signs SETs and log records. */
export function addKeysCommands(cli: Cli, program: Command): void {
  const group = program
    .command('keys')
    .description('the keys that sign SETs and the event log, and that seal secrets')
  addList(cli, group)
  addRotate(cli, group)
  addRetire(cli, group)
}

function addList(cli: Cli, group: Command): void {
  withApi<{ all?: boolean }>(
    cli,
    group.command('list').description('keys, their states and times').option('--all', 'the retired ones too'),
    async ({ api, print }, { all }) => {
      const list = await api.get<ApiList<Key>>(apiPath('keys'))
      print(list, () => renderTable(COLUMNS, all ? list.items : list.items.filter(isNotRetired)))
    },
  )
}

function addRotate(cli: Cli, group: Command): void {
  const rotate = group
    .command('rotate')
    .description('publish a new key, which signs once receivers had the time to fetch it')
    .addOption(
      new Option('--use <use>', 'what it signs, or ring: what seals secrets')
        .choices(['set', 'log', 'ring'])
        .default('set'),
    )
    .addOption(new Option('--alg <alg>', 'one algorithm (default: all)').choices(['RS256', 'ES256']))
    .option('--now', 'for a key that leaked: sign within half a minute, though caches may not have it yet')
  examples(rotate, [
    'keys rotate',
    'keys rotate --alg RS256',
    'keys rotate --use log',
    'keys rotate --use ring',
  ])
  withApi<{ use: string; alg?: string; now?: boolean }>(
    cli,
    rotate,
    async ({ api, print }, { use, alg, now }) => {
      const made = await api.post<ApiList<Key>>(apiPath('keys', 'rotate'), {
        use,
        ...(alg && { alg }),
        ...(now && { now }),
      })
      print(made, () => renderTable(COLUMNS, made.items))
    },
  )
}

function addRetire(cli: Cli, group: Command): void {
  const retire = group
    .command('retire')
    .description('take a key that signs no more, or not yet, out of the published ones before its time')
    .argument('<kid>')
  withApi(cli, retire, async ({ api, print }, _options, [kid = '']) => {
    const key = await api.post<Key>(apiPath('keys', kid, 'retire'))
    print(key, () => `retired ${kid}\n`)
  })
}

const isNotRetired = (key: Key): boolean => key.state !== 'retired'
