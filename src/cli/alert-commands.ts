import { type Command, Option } from 'commander'
import { type ApiList, apiPath } from './api-client.js'
import { CommandFailed } from './cli-errors.js'
import { type Cli, examples, moreHint, type PageOptions, withApi } from './command.js'
import { type Column, cellText, renderTable } from './table.js'
import { parseCount } from './time-option.js'

interface Alert {
  kind: string
  object: string
  severity: string
  state: string
  summary: string
  opened_at: string
  resolved_at: string | null
}

interface Told {
  delivered: boolean
  status: number | null
  failure: string | null
}

interface AlertTest {
  notice_id: string
  webhook: Told | null
  log: Told | null
}

type ListOptions = PageOptions & { state?: string; kind?: string }

const COLUMNS: Column<Alert>[] = [
  { title: 'OPENED AT', value: (row) => row.opened_at },
  { title: 'RESOLVED AT', value: (row) => row.resolved_at },
  { title: 'SEVERITY', value: (row) => row.severity },
  { title: 'KIND', value: (row) => row.kind },
  { title: 'OBJECT', value: (row) => row.object },
  { title: 'SUMMARY', value: (row) => row.summary },
]

/** What a person should look at, and whether anybody would hear of it. */
export function addAlertCommands(cli: Cli, program: Command): void {
  const group = program.command('alerts').description('what a person should look at')
  const list = group
    .command('list', { isDefault: true })
    .description('open alerts, newest first; list may be left out')
    .addOption(new Option('--state <state>', 'open, resolved or all').choices(['open', 'resolved', 'all']))
    .option('--kind <kind>', 'of one kind, such as stream_failing')
    .option('--limit <n>', 'at most this many', parseCount)
    .option('--cursor <cursor>', 'go on where a list ended')
  examples(list, ['alerts', 'alerts --state all --kind sets_parked'])
  withApi<ListOptions>(cli, list, async ({ api, print }, { state, kind, limit, cursor }) => {
    const alerts = await api.get<ApiList<Alert>>(apiPath('alerts'), { state, kind, limit, cursor })
    print(alerts, () =>
      alerts.items.length === 0 ? 'no alerts\n' : renderTable(COLUMNS, alerts.items) + moreHint(alerts),
    )
  })
  withApi(
    cli,
    group.command('test').description('send a test alert to the webhook and the file that are configured'),
    async ({ api, print }) => {
      const result = await api.post<AlertTest>(apiPath('alerts', 'test'))
      const ways = [
        ['webhook', result.webhook],
        ['log', result.log],
      ] as const
      print(result, () => ways.map(([way, told]) => `${way}: ${describe(told)}\n`).join(''))
      const failed = ways.filter(([, told]) => told && !told.delivered).map(([way]) => way)
      if (failed.length > 0) throw new CommandFailed(`the test did not get through: ${failed.join(', ')}`)
    },
  )
}

function describe(told: Told | null): string {
  if (!told) return 'not configured'
  if (!told.delivered) return `failed (${cellText(told.failure)})`
  return told.status === null ? 'written' : `answered ${told.status}`
}
