import type { Command } from 'commander'
import { apiPath } from './api-client.js'
import { type Cli, examples, withApi } from './command.js'
import { resolveType } from './emit-command.js'
import { renderFields } from './table.js'
import { collect } from './time-option.js'

interface Transmitter {
  id: string
  name: string
  urgent_types: string[]
}

/** What is urgent of this source beside what tightens access. Without an option it only shows that. */
export function addTransmitterUrgent(cli: Cli, group: Command): void {
  const command = group
    .command('urgent')
    .description('event types that are urgent from this transmitter, beside those that always are')
    .argument('<id>')
    .option('--add <type>', 'URI or short name; repeat for more', collect)
    .option('--remove <type>', 'the same', collect)
  examples(command, [
    'transmitter urgent 5f0c…',
    'transmitter urgent 5f0c… --add account-enabled --add https://example.com/events/badge',
    'transmitter urgent 5f0c… --remove account-enabled',
  ])
  withApi<{ add?: string[]; remove?: string[] }>(cli, command, async ({ api, print }, options, [id = '']) => {
    const resolve = (option: 'add' | 'remove') =>
      (options[option] ?? []).map((type) => resolveType(type, cli.hooks.eventTypes, `--${option}`))
    const added = resolve('add')
    const removed = resolve('remove')
    const path = apiPath('transmitters', id)
    const before = await api.get<Transmitter>(path)
    const wanted = new Set([...before.urgent_types, ...added])
    for (const type of removed) wanted.delete(type)
    const changes = added.length > 0 || removed.length > 0
    const after = changes ? await api.patch<Transmitter>(path, { urgent_types: [...wanted] }) : before
    print(after, () => renderFields({ id: after.id, name: after.name, 'urgent types': after.urgent_types }))
  })
}
