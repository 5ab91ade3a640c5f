import type { Command } from 'commander'
import { type ApiList, apiPath } from './api-client.js'
import { type Colour, paint } from './cli-io.js'
import { type ApiCall, type Cli, moreHint, type PageOptions, withApi } from './command.js'
import { addStreamTlsCommands } from './stream-tls-commands.js'
import { renderFields, renderTable } from './table.js'
import { parseCount } from './time-option.js'

/** An SSF stream as operators see it. */
export interface Stream {
  stream_id: string
  receiver: { id: string; name: string }
  status: string
  status_reason?: string | null
  /** Absent in answers of older hubs. */
  failing?: { class: string } | null
  delivery: { method: string; endpoint_url?: string }
  events_delivered?: string[]
}

const STATUS_COLOURS: Record<string, Colour> = { enabled: 'green', paused: 'yellow', disabled: 'red' }

export function addStreamCommands(cli: Cli, program: Command): void {
  const group = program.command('stream').description("receivers' SSF event streams")
  withApi<PageOptions & { receiver?: string }>(
    cli,
    group
      .command('list')
      .description('all streams')
      .option('--receiver <id>', 'of one receiver')
      .option('--limit <n>', 'at most this many', parseCount)
      .option('--cursor <cursor>', 'go on where a list ended'),
    async (call, { receiver, limit, cursor }) => {
      const query = { receiver_id: receiver, limit, cursor }
      const list = await call.api.get<ApiList<Stream>>(apiPath('streams'), query)
      call.print(list, () => streamTable(call, list.items) + moreHint(list))
    },
  )

  withApi(
    cli,
    group.command('show').description('one stream').argument('<id>'),
    async ({ api, print }, _options, [id = '']) => {
      const stream = await api.get<Stream>(apiPath('streams', id))
      const { delivery, receiver, ...rest } = stream
      const fields = { ...rest, receiver: receiver.name, receiver_id: receiver.id, ...delivery }
      print(stream, () => renderFields(fields))
    },
  )

  addStatusCommand(cli, group, { verb: 'pause', done: 'paused', what: 'hold its events until it is enabled' })
  addStatusCommand(cli, group, { verb: 'enable', done: 'enabled', what: 'send again, held events first' })
  addStreamTlsCommands(cli, group)
}

function addStatusCommand(
  cli: Cli,
  group: Command,
  spec: { verb: string; done: string; what: string },
): void {
  withApi<{ reason?: string }>(
    cli,
    group
      .command(spec.verb)
      .description(spec.what)
      .argument('<id>')
      .option('--reason <text>', 'shown to the receiver'),
    async ({ api, print }, { reason }, [id = '']) => {
      const stream = await api.post<Stream>(apiPath('streams', id, spec.verb), { ...(reason && { reason }) })
      print(stream, () => `stream ${id} is ${stream?.status ?? spec.done}\n`)
    },
  )
}

function streamTable({ io }: ApiCall, streams: Stream[]): string {
  return renderTable(
    [
      { title: 'ID', value: (row) => row.stream_id },
      { title: 'RECEIVER', value: (row) => row.receiver.name },
      { title: 'METHOD', value: (row) => methodOf(row) },
      {
        title: 'STATUS',
        value: (row) => row.status,
        paint: (text, row) => paint(io, STATUS_COLOURS[row.status] ?? 'grey', text),
      },
      { title: 'TYPES', value: (row) => row.events_delivered?.length, align: 'right' },
      { title: 'FAILING', value: (row) => row.failing?.class },
      { title: 'REASON', value: (row) => row.status_reason },
    ],
    streams,
  )
}

/** RFC 8936 is poll, RFC 8935 is push. */
export function methodOf(stream: Stream): 'push' | 'poll' {
  return stream.delivery.method.endsWith('8936') ? 'poll' : 'push'
}
