import type { Command } from 'commander'
import { WrongUse } from './cli-errors.js'
import type { CliIo } from './cli-io.js'
import { parseObject, readInput } from './input.js'

export interface SubjectOptions {
  email?: string
  issSub?: string
  subject?: string
  subjectFile?: string
}

/** The ways to name a subject on the command line. */
export function subjectOptions(command: Command): Command {
  return command
    .option('--email <address>', 'the subject, by email')
    .option('--iss-sub <iss,sub>', 'the subject, by issuer and sub, with a comma between')
    .option('--subject <json>', 'the subject, any RFC 9493 identifier')
    .option('--subject-file <file>', 'the same from a file, - for standard input')
}

/** The one subject that the options name. @throws WrongUse */
export async function readSubject(io: CliIo, options: SubjectOptions): Promise<Record<string, unknown>> {
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
