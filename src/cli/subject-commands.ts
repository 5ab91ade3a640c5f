import { type Command, Option } from 'commander'
import { type ApiList, apiPath } from './api-client.js'
import { CommandFailed } from './cli-errors.js'
import { withProgress } from './cli-io.js'
import { type Cli, examples, moreHint, type PageOptions, pause, withApi } from './command.js'
import { readSubject, type SubjectOptions, subjectOptions } from './subject-options.js'
import { type Column, renderFields, renderTable } from './table.js'
import { parseCount, parseDuration } from './time-option.js'

interface Erasure {
  id: string
  state: 'running' | 'waiting' | 'done'
  step: string
  subject_hash: string
  reason: string
  requested_at: string
  events_seen: number
  events_erased: number
  events_owed: number
  deliveries_discarded: number
  subjects_erased: number
  records_erased: number
  not_reached: string[]
}

interface EraseOptions extends SubjectOptions {
  reason: string
  force?: boolean
  timeout: number
}

const ASK_EVERY_MS = 500

/** Counts of what was about the person; `events_seen` counts all that was looked at. */
const FOUND = [
  'events_erased',
  'events_owed',
  'deliveries_discarded',
  'subjects_erased',
  'records_erased',
] as const

const COLUMNS: Column<Erasure>[] = [
  { title: 'ID', value: (row) => row.id },
  { title: 'REQUESTED AT', value: (row) => row.requested_at },
  { title: 'STATE', value: (row) => row.state },
  { title: 'EVENTS', value: (row) => row.events_erased },
  { title: 'OWED', value: (row) => row.events_owed },
  { title: 'REASON', value: (row) => row.reason },
]

/** Erasing a person from what the hub holds. */
export function addSubjectCommands(cli: Cli, program: Command): void {
  const group = program.command('subject').description('erase a person from what the hub holds')
  addErase(cli, group)
  withApi<PageOptions>(
    cli,
    group
      .command('erasures')
      .description('erasures that were asked for')
      .option('--limit <n>', 'at most this many', parseCount)
      .option('--cursor <cursor>', 'go on where a list ended'),
    async ({ api, print }, { limit, cursor }) => {
      const list = await api.get<ApiList<Erasure>>(apiPath('subjects', 'erasures'), { limit, cursor })
      print(list, () =>
        list.items.length === 0 ? 'nothing was erased\n' : renderTable(COLUMNS, list.items) + moreHint(list),
      )
    },
  )
  withApi(
    cli,
    group.command('erasure').description('how far one is').argument('<id>'),
    async ({ api, print }, _options, [id = '']) => {
      const erasure = await api.get<Erasure>(apiPath('subjects', 'erasures', id))
      print(erasure, () => describe(erasure))
    },
  )
}

function addErase(cli: Cli, group: Command): void {
  const command = subjectOptions(
    group
      .command('erase')
      .description('make the identifiers of a person unreadable, and wait until it is done'),
  )
    .requiredOption('--reason <text>', 'why, without the identifier: it is kept in the audit log')
    .option('--force', 'do not wait for what receivers are still owed: a revocation may be lost')
    .addOption(
      new Option('--timeout <duration>', 'how long to wait').argParser(parseDuration).default(60_000, '1m'),
    )
  examples(command, [
    'subject erase --email a@example.com --reason "request 7"',
    'subject erase --subject-file names.json --reason "request 7"   # aliases: several names of one person',
  ])
  withApi<EraseOptions>(cli, command, async ({ api, io, signal, print }, options) => {
    const body = {
      subject: await readSubject(io, options),
      reason: options.reason,
      ...(options.force && { force: true }),
    }
    const asked = await api.post<Erasure>(apiPath('subjects', 'erase'), body)
    const erasure = await withProgress(io, 'erasing', untilDone(asked))
    print(erasure, () => describe(erasure))
    if (erasure.state !== 'done') throw new CommandFailed(notDone(erasure))

    async function untilDone(begun: Erasure): Promise<Erasure> {
      const endsAt = performance.now() + options.timeout
      let now = begun
      while (now.state !== 'done' && performance.now() < endsAt) {
        await pause(Math.min(ASK_EVERY_MS, options.timeout), signal)
        now = await api.get<Erasure>(apiPath('subjects', 'erasures', begun.id))
      }
      return now
    }
  })
}

function notDone({ id, events_owed: owed }: Erasure): string {
  const why =
    owed > 0
      ? `${owed} events are still owed to receivers and are erased once these took them; with --force they are given up instead`
      : 'the hub is still looking'
  return `not done yet: ${why}. It goes on; see: firebreak subject erasure ${id}`
}

function describe({ not_reached: notReached, ...erasure }: Erasure): string {
  const nothing = erasure.state === 'done' && FOUND.every((count) => erasure[count] === 0)
  return [
    renderFields({ ...erasure }),
    ...(nothing ? ['nothing about this subject was found: is the identifier right?\n'] : []),
    'not reached:\n',
    ...notReached.map((line) => `  ${line}\n`),
  ].join('')
}
