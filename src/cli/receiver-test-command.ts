import { type Command, Option } from 'commander'
import { type ApiClient, type ApiList, apiPath } from './api-client.js'
import { CommandFailed } from './cli-errors.js'
import { paint, withProgress } from './cli-io.js'
import { type ApiCall, type Cli, examples, pause, withApi } from './command.js'
import { methodOf, type Stream } from './stream-commands.js'
import { renderTable } from './table.js'
import { parseDuration } from './time-option.js'

const VERIFICATION = 'https://schemas.openid.net/secevent/ssf/event-type/verification'
const POLL_MS = 200

interface Delivery {
  event_id: string
  state: string
  failure?: string | null
}

interface StreamTest {
  stream_id: string
  method: string
  /** received, or the delivery's state when the time was over. */
  result: string
  after_ms: number
  failure?: string
}

/** SSF 1.0 §8.1.4: a verification event on every stream of a receiver, and whether it was received. */
export function addReceiverTest(cli: Cli, group: Command): void {
  const command = group
    .command('test')
    .description("send a verification on the receiver's streams and wait until it was received")
    .argument('<id>', 'the receiver')
    .addOption(
      new Option('--timeout <duration>', 'how long to wait').argParser(parseDuration).default(15_000, '15s'),
    )
  examples(command, ['receiver test 5f0c…', 'receiver test 5f0c… --timeout 1m --json'])
  withApi<{ timeout: number }>(cli, command, async (call, { timeout }, [id = '']) => {
    const streams = await call.api.get<ApiList<Stream>>(apiPath('streams'), { receiver_id: id })
    if (streams.items.length === 0) {
      throw new CommandFailed(
        `receiver ${id} has no stream yet: it creates one at the hub's configuration endpoint`,
      )
    }
    const tests = Promise.all(streams.items.map((stream) => testStream(call, { stream, timeoutMs: timeout })))
    const results = await withProgress(call.io, 'waiting for the verification', tests)
    call.print({ items: results }, () => resultTable(call, results))
    const silent = results.filter((result) => result.result !== 'received').length
    if (silent > 0)
      throw new CommandFailed(`${silent} of ${results.length} streams did not receive the verification`)
  })
}

async function testStream(
  call: ApiCall,
  { stream, timeoutMs }: { stream: Stream; timeoutMs: number },
): Promise<StreamTest> {
  const before = await newestVerification(call.api, stream.stream_id)
  const startedAt = performance.now()
  await call.api.post(apiPath('streams', stream.stream_id, 'verify'))
  for (;;) {
    const newest = await newestVerification(call.api, stream.stream_id)
    const delivery = newest?.event_id === before?.event_id ? undefined : newest
    const afterMs = Math.round(performance.now() - startedAt)
    if (delivery?.state === 'received' || afterMs >= timeoutMs) {
      return {
        stream_id: stream.stream_id,
        method: methodOf(stream),
        result: delivery?.state ?? 'not sent',
        after_ms: afterMs,
        ...(delivery?.failure && { failure: delivery.failure }),
      }
    }
    await pause(POLL_MS, call.signal)
  }
}

async function newestVerification(api: ApiClient, streamId: string): Promise<Delivery | undefined> {
  const query = { stream_id: streamId, type: VERIFICATION, limit: 1 }
  const list = await api.get<ApiList<Delivery>>(apiPath('deliveries'), query)
  return list.items[0]
}

function resultTable({ io }: ApiCall, results: StreamTest[]): string {
  return renderTable(
    [
      { title: 'STREAM', value: (row) => row.stream_id },
      { title: 'METHOD', value: (row) => row.method },
      {
        title: 'VERIFICATION',
        value: (row) => row.result,
        paint: (text, row) => paint(io, row.result === 'received' ? 'green' : 'red', text),
      },
      { title: 'MS', value: (row) => row.after_ms, align: 'right' },
      { title: 'FAILURE', value: (row) => row.failure },
    ],
    results,
  )
}
