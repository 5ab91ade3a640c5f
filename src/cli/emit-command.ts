import type { Command } from 'commander'
import { apiPath } from './api-client.js'
import { WrongUse } from './cli-errors.js'
import { type Cli, examples, withApi } from './command.js'
import { parseObject, readInput } from './input.js'
import { readSubject, type SubjectOptions, subjectOptions } from './subject-options.js'
import { renderFields } from './table.js'
import { parsePast } from './time-option.js'

interface EmitOptions extends SubjectOptions {
  type: string
  event?: string
  eventFile?: string
  at?: string
  txn?: string
}

/** An operator's own security event, in the same lanes as one from upstream. */
export function addEmitCommand(cli: Cli, program: Command): void {
  const command = subjectOptions(
    program
      .command('emit')
      .description('send a security event to every subscribed receiver')
      .requiredOption('--type <type>', 'event type URI, or its last part, such as session-revoked'),
  )
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

/** What stands behind the base of a built-in URI. */
const shortName = (uri: string): string => uri.replace(/^(.*\/|urn:ietf:params:scim:event:)/, '')

/** A type by its short name, or as a whole. @throws WrongUse that names the option */
export function resolveType(type: string, known: readonly string[], option = '--type'): string {
  const uri = known.find((candidate) => shortName(candidate) === type)
  if (!uri && type.includes(':')) return type
  if (!uri) {
    const names = known.map(shortName)
    throw new WrongUse(`${option} ${type} is not known. Give a full URI, or one of: ${names.join(', ')}`)
  }
  return uri
}
