import { type Command, Option } from 'commander'
import { type ApiList, apiPath } from './api-client.js'
import { withProgress } from './cli-io.js'
import { type Cli, examples, moreHint, type PageOptions, withApi } from './command.js'
import { type Column, renderFields, renderTable } from './table.js'
import { parseCount, parseFuture } from './time-option.js'

interface Operator {
  id: string
  name: string
  role: string
  created_at?: string
  expires_at?: string | null
  revoked_at?: string | null
}

const ROLES = ['viewer', 'operator', 'responder', 'approver', 'admin']

const COLUMNS: Column<Operator>[] = [
  { title: 'ID', value: (row) => row.id },
  { title: 'NAME', value: (row) => row.name },
  { title: 'ROLE', value: (row) => row.role },
  { title: 'CREATED', value: (row) => row.created_at },
  { title: 'EXPIRES', value: (row) => row.expires_at ?? 'never' },
  { title: 'REVOKED', value: (row) => row.revoked_at },
]

export function addOperatorCommands(cli: Cli, program: Command): void {
  const group = program.command('operator').description('people and tools that may use the hub API')
  const add = group
    .command('add')
    .description('add an operator; prints its token once')
    .requiredOption('--name <name>', 'shown in the audit log')
    .addOption(new Option('--role <role>', 'what it may do').choices(ROLES).makeOptionMandatory())
    .option('--expires <time>', 'when its token ends: 90d, or a time (default: never)', parseFuture)
  examples(add, ['operator add --name dashboards --role viewer --expires 90d'])
  withApi<{ name: string; role: string; expires?: string }>(
    cli,
    add,
    async ({ api, print }, { name, role, expires }) => {
      const operator = await api.post<Operator>(apiPath('operators'), {
        name,
        role,
        ...(expires && { expires_at: expires }),
      })
      print(operator, () => `${renderFields({ ...operator })}Keep the token now: it is not shown again.\n`)
    },
  )

  withApi<PageOptions>(
    cli,
    group
      .command('list')
      .description('all operators')
      .option('--limit <n>', 'at most this many', parseCount)
      .option('--cursor <cursor>', 'go on where a list ended'),
    async ({ api, print }, { limit, cursor }) => {
      const list = await api.get<ApiList<Operator>>(apiPath('operators'), { limit, cursor })
      print(list, () => renderTable(COLUMNS, list.items) + moreHint(list))
    },
  )

  withApi(
    cli,
    group.command('revoke').description('end its token at once').argument('<id>'),
    async ({ api, print }, _options, [id = '']) => {
      await api.delete(apiPath('operators', id))
      print({}, () => `revoked operator ${id}\n`)
    },
  )

  addReset(cli, group)
}

/** Works on the database, for when every admin token is lost. */
function addReset({ hooks, io }: Cli, group: Command): void {
  group
    .command('reset')
    .description(
      'make another admin token, given database access; with the embedded PostgreSQL stop the hub first',
    )
    .option('--json', 'print the result as JSON')
    .action(async (options: { json?: boolean }) => {
      const made = await withProgress(io, 'opening the database', hooks.resetOperator())
      io.out(
        options.json
          ? `${JSON.stringify(made, null, 2)}\n`
          : `${renderFields({ operator: made.name, token: made.token })}${whereKept(made.file)}\n`,
      )
    })
}

function whereKept(file: string | undefined): string {
  if (!file) return 'Keep the token now: it is not shown again.'
  return `It is also in ${file} for the command line here, and not shown again.`
}
