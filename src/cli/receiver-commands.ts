import { type Command, Option } from 'commander'
import { type ApiList, apiPath } from './api-client.js'
import { type Cli, examples, moreHint, type PageOptions, withApi } from './command.js'
import { addReceiverTest } from './receiver-test-command.js'
import { addReceiverToken } from './receiver-token-command.js'
import { type Column, renderFields, renderTable } from './table.js'
import { collect, parseCount, parseDuration } from './time-option.js'

interface Receiver {
  id: string
  name: string
  client_id: string
  client_secret?: string
  token_issuer?: string
  token_endpoint_auth_method?: string
  audience: string
  default_subjects?: string
  reports?: string[]
}

interface AddOptions {
  name: string
  clientId?: string
  eventType?: string[]
  source?: string[]
  defaultSubjects?: 'ALL' | 'NONE'
  reports?: string[]
  profile?: string
  compatibility?: string[]
  /** ms */
  inactivityTimeout?: number
}

export function addReceiverCommands(cli: Cli, program: Command): void {
  const group = program
    .command('receiver')
    .description('receivers: the enforcement points that may subscribe')
  addAdd(cli, group)

  withApi<PageOptions>(
    cli,
    group
      .command('list')
      .description('all receivers')
      .option('--limit <n>', 'at most this many', parseCount)
      .option('--cursor <cursor>', 'go on where a list ended'),
    async ({ api, print }, { limit, cursor }) => {
      const list = await api.get<ApiList<Receiver>>(apiPath('receivers'), { limit, cursor })
      print(list, () => renderTable(COLUMNS, list.items) + moreHint(list))
    },
  )

  withApi(
    cli,
    group.command('remove').description('delete it, its streams and its tokens').argument('<id>'),
    async ({ api, print }, _options, [id = '']) => {
      await api.delete(apiPath('receivers', id))
      print({}, () => `removed receiver ${id}, its streams and its tokens\n`)
    },
  )

  withApi(
    cli,
    group
      .command('rotate')
      .description('make a new client secret; the old one and all its access tokens end at once')
      .argument('<id>'),
    async ({ api, print }, _options, [id = '']) => {
      const receiver = await api.post<Receiver>(apiPath('receivers', id, 'rotate'))
      print(receiver, () => secretText(receiver))
    },
  )

  addReceiverToken(cli, group)
  addReceiverTest(cli, group)
}

const COLUMNS: Column<Receiver>[] = [
  { title: 'ID', value: (row) => row.id },
  { title: 'NAME', value: (row) => row.name },
  { title: 'CLIENT ID', value: (row) => row.client_id },
  { title: 'AUDIENCE', value: (row) => row.audience },
  { title: 'SUBJECTS', value: (row) => row.default_subjects },
  { title: 'REPORTS', value: (row) => row.reports },
]

function addAdd(cli: Cli, group: Command): void {
  const command = group
    .command('add')
    .description('register a receiver; prints its client secret once')
    .requiredOption('--name <name>', 'a name of your choice')
    .option('--client-id <id>', 'its name at the issuer of OAUTH_ISSUER (default: made here, with a secret)')
    .option('--event-type <uri>', 'grant only these event types; repeat for more (default: all)', collect)
    .option(
      '--source <id>',
      'grant only events of these transmitters; repeat for more (default: all)',
      collect,
    )
    .addOption(
      new Option('--default-subjects <which>', 'subjects of a new stream (default: ALL)').choices([
        'ALL',
        'NONE',
      ]),
    )
    .option('--reports <stage>', 'what it reports beyond receipt: applied', collect)
    .option('--profile <name>', 'what it is held to: caep-interop')
    .option(
      '--compatibility <names>',
      'departures from the standards that its client needs (docs/receivers.md); repeat for more',
      collect,
    )
    .option(
      '--inactivity-timeout <duration>',
      'pause its streams after this silence, 0s for never (default: INACTIVITY_TIMEOUT_S)',
      parseDuration,
    )
  examples(command, [
    'receiver add --name gateway-1 --reports applied',
    'receiver add --name broker --event-type https://schemas.openid.net/secevent/caep/event-type/session-revoked',
  ])
  withApi<AddOptions>(cli, command, async ({ api, print }, options) => {
    const receiver = await api.post<Receiver>(apiPath('receivers'), addBody(options))
    print(receiver, () => secretText(receiver))
  })
}

function addBody(options: AddOptions): object {
  const grants = {
    ...(options.eventType && { event_types: options.eventType }),
    ...(options.source && { sources: options.source }),
  }
  return {
    name: options.name,
    ...(options.clientId && { client_id: options.clientId }),
    ...(Object.keys(grants).length > 0 && { grants }),
    ...(options.defaultSubjects && { default_subjects: options.defaultSubjects }),
    ...(options.reports && { reports: options.reports }),
    ...(options.profile && { profile: options.profile }),
    ...(options.compatibility && {
      compatibility: Object.fromEntries(options.compatibility.map((name) => [name, true])),
    }),
    ...(options.inactivityTimeout !== undefined && {
      inactivity_timeout_s: options.inactivityTimeout / 1_000,
    }),
  }
}

function secretText(receiver: Receiver): string {
  const { id, client_id, client_secret, audience } = receiver
  const fields = renderFields({ id, client_id, client_secret, audience })
  if (client_secret !== undefined) return `${fields}Keep the client secret now: it is not shown again.\n`
  const hasOtherWay = receiver.token_issuer || receiver.token_endpoint_auth_method === 'private_key_jwt'
  return hasOtherWay
    ? fields
    : `${fields}No client secret: OAUTH_ISSUER issues the tokens. Register it with --client-id, its name there, or issue it a token: firebreak receiver token ${id}\n`
}
