import { type Command, Option } from 'commander'
import { type ApiList, apiPath } from './api-client.js'
import { CommandFailed, WrongUse } from './cli-errors.js'
import { type Cli, examples, moreHint, type PageOptions, withApi } from './command.js'
import { parseObject, readInput } from './input.js'
import { type Column, renderFields, renderTable } from './table.js'
import { parseCount } from './time-option.js'

type Effect = string | { member: string; values: Record<string, string>; otherwise: string }

interface EventType {
  id: string | null
  type: string
  family: string
  effect: Effect
  lanes: string[]
}

interface AddOptions {
  effect?: string
  member?: string
  value?: string[]
  otherwise?: string
  schema?: string
  description?: string
}

const EFFECTS = ['tightens', 'loosens', 'neutral']

const COLUMNS: Column<EventType>[] = [
  { title: 'TYPE', value: (row) => row.type },
  { title: 'FAMILY', value: (row) => row.family },
  { title: 'EFFECT', value: (row) => describeEffect(row.effect) },
  { title: 'LANES', value: (row) => row.lanes.join(', ') },
]

/** Event types, the built-in ones and those that operators registered. */
export function addEventTypeCommands(cli: Cli, program: Command): void {
  const group = program
    .command('event-type')
    .description('event types and what they do to access; register your own')
  withApi<PageOptions>(
    cli,
    group
      .command('list')
      .description('all event types')
      .option('--limit <n>', 'at most this many', parseCount)
      .option('--cursor <cursor>', 'go on where a list ended'),
    async ({ api, print }, { limit, cursor }) => {
      const list = await api.get<ApiList<EventType>>(apiPath('event-types'), { limit, cursor })
      print(list, () => renderTable(COLUMNS, list.items) + moreHint(list))
    },
  )
  addAdd(cli, group)
  withApi(
    cli,
    group
      .command('remove')
      .description('its events are unknown from now on: kept, and sent to nobody')
      .argument('<type>', 'URI or id of a registered type'),
    async ({ api, print }, _options, [type = '']) => {
      await api.delete(apiPath('event-types', type.includes(':') ? await findId(type) : type))
      print({}, () => `removed event type ${type}\n`)

      async function findId(uri: string): Promise<string> {
        const { items } = await api.get<ApiList<EventType>>(apiPath('event-types'), { type: uri })
        const [found] = items
        if (!found)
          throw new CommandFailed(`${uri} is not a registered event type; see: firebreak event-type list`)
        if (found.id === null) throw new CommandFailed(`${uri} is built in: cannot be removed`)
        return found.id
      }
    },
  )
}

function addAdd(cli: Cli, group: Command): void {
  const collect = (value: string, all: string[] = []): string[] => [...all, value]
  const command = group
    .command('add')
    .description('register an event type of your own, with what it does to access')
    .argument('<type>', 'an absolute URI under a name of yours')
    .addOption(new Option('--effect <effect>', 'what each event does').choices(EFFECTS))
    .option('--member <name>', 'or the member of the payload that decides')
    .option('--value <value=effect>', 'what one value of it does; repeat for more', collect)
    .addOption(new Option('--otherwise <effect>', 'what every other value does').choices(EFFECTS))
    .option('--schema <file>', 'JSON Schema 2020-12 of the payload, - for standard input')
    .option('--description <text>', 'what it says')
  examples(command, [
    'event-type add https://example.com/events/badge-lost --effect tightens --schema badge-lost.json',
    'event-type add https://example.com/events/shift --member state --value over=tightens --value begun=loosens --otherwise neutral',
  ])
  withApi<AddOptions>(cli, command, async ({ api, io, print }, options, [type = '']) => {
    const body = {
      type,
      effect: readEffect(options),
      ...(options.schema && {
        schema: parseObject(await readInput(io, options.schema, '--schema'), '--schema'),
      }),
      ...(options.description && { description: options.description }),
    }
    const added = await api.post<EventType>(apiPath('event-types'), body)
    print(added, () =>
      renderFields({
        id: added.id,
        type: added.type,
        effect: describeEffect(added.effect),
        lanes: added.lanes,
      }),
    )
  })
}

function readEffect({ effect, member, value, otherwise }: AddOptions): Effect {
  const isRule = member !== undefined || value !== undefined || otherwise !== undefined
  if ((effect !== undefined) === isRule) {
    throw new WrongUse('say what it does: --effect, or --member with --value and --otherwise')
  }
  if (effect !== undefined) return effect
  if (member === undefined || value === undefined || otherwise === undefined) {
    throw new WrongUse('--member, --value and --otherwise go together')
  }
  const values = value.map((text): [string, string] => {
    const cut = text.lastIndexOf('=')
    if (cut < 1) throw new WrongUse(`--value ${text}: write value=effect`)
    return [text.slice(0, cut), text.slice(cut + 1)]
  })
  return { member, values: Object.fromEntries(values), otherwise }
}

function describeEffect(effect: Effect): string {
  if (typeof effect === 'string') return effect
  const values = Object.entries(effect.values).map(([value, does]) => `${value} ${does}`)
  return `${effect.member}: ${values.join(', ')}, else ${effect.otherwise}`
}
