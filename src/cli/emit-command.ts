import type { Command } from 'commander'
import { apiPath } from './api-client.js'
import { WrongUse } from './cli-errors.js'
import type { CliIo } from './cli-io.js'
import { type Cli, examples, withApi } from './command.js'
import { parseObject, readInput } from './input.js'
import { renderFields } from './table.js'
import { parsePast } from './time-option.js'

interface EmitOptions {
  type: string
  email?: string
  issSub?: string
  subject?: string
  subjectFile?: string
  event?: string
  eventFile?: string
  at?: string
  txn?: string
}

/** An operator's own security event, in the same lanes as one from upstream. */
export function addEmitCommand(cli: Cli, program: Command): void {
  const command = program
    .command('emit')
    .description('send a security event to every subscribed receiver')
    .requiredOption('--type <type>', 'event type URI, or its last part, such as session-revoked')
    .option('--email <address>', 'the subject, by email')
    .option('--iss-sub <iss,sub>', 'the subject, by issuer and sub, with a comma between')
    .option('--subject <json>', 'the subject, any RFC 9493 identifier')
    .option('--subject-file <file>', 'the same from a file, - for standard input')
    .option('--event <json>', "the event's claims", '{}')
    .option('--event-file <file>', 'the same from a file, - for standard input')
    .option('--at <time>', 'when it happened: a time, or 5m for five minutes ago', parsePast)
    .option('--txn <id>', 'joins it to other events of the same cause')
  examples(command, [
    `emit --type session-revoked --email a@example.com --event '{"reason_admin":{"en":"laptop stolen"}}'`,
    'emit --type account-disabled --iss-sub https://idp.example.com,alice',
    'emit --type session-revoked --subject-file subject.json --event-file - < event.json',
  ])
  withApi<EmitOptions>(cli, command, async ({ api, io, print }, options) => {
    if (options.subjectFile === '-' && options.eventFile === '-') {
      throw new WrongUse('--subject-file and --event-file cannot both be standard input')
    }
    const body = {
      type: resolveType(options.type, cli.hooks.eventTypes),
      sub_id: await readSubject(io, options),
      event: options.eventFile
        ? parseObject(await readInput(io, options.eventFile, '--event-file'), '--event-file')
        : parseObject(options.event ?? '{}', '--event'),
      ...(options.at && { event_timestamp: Math.floor(Date.parse(options.at) / 1000) }),
      ...(options.txn && { txn: options.txn }),
    }
    const accepted = await api.post<{ txn: string; event_id: string }>(apiPath('events'), body)
    print(accepted, () => renderFields({ txn: accepted.txn, event_id: accepted.event_id }))
  })
}

/** A type by its last part, or as a whole. @throws WrongUse that names the option */
export function resolveType(type: string, known: readonly string[], option = '--type'): string {
  if (type.includes(':')) return type
  const uri = known.find((candidate) => candidate.endsWith(`/${type}`))
  if (!uri) {
    const names = known.map((candidate) => candidate.slice(candidate.lastIndexOf('/') + 1))
    throw new WrongUse(`${option} ${type} is not known. Give a full URI, or one of: ${names.join(', ')}`)
  }
  return uri
}

async function readSubject(io: CliIo, options: EmitOptions): Promise<Record<string, unknown>> {
  const given = [options.email, options.issSub, options.subject, options.subjectFile].filter(Boolean).length
  if (given !== 1)
    throw new WrongUse('give the subject by one of --email, --iss-sub, --subject or --subject-file')
  if (options.email) return { format: 'email', email: options.email }
  if (options.issSub) {
    const comma = options.issSub.indexOf(',')
    const [iss, sub] = [options.issSub.slice(0, comma), options.issSub.slice(comma + 1)]
    if (comma < 1 || !sub) throw new WrongUse('--iss-sub is issuer,sub: two values with a comma between')
    return { format: 'iss_sub', iss, sub }
  }
  if (options.subject) return parseObject(options.subject, '--subject')
  return parseObject(await readInput(io, options.subjectFile ?? '-', '--subject-file'), '--subject-file')
}
