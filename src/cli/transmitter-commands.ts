import type { Command } from 'commander'
import { type ApiList, apiPath } from './api-client.js'
import { WrongUse } from './cli-errors.js'
import type { CliIo } from './cli-io.js'
import { type ApiCall, type Cli, examples, moreHint, type PageOptions, withApi } from './command.js'
import { resolveType } from './emit-command.js'
import { parseObject, readInput, readSecret } from './input.js'
import { renderFields, renderTable } from './table.js'
import { collect, parseCount } from './time-option.js'
import {
  addStreamOptions,
  addTransmitterVerify,
  awaitVerified,
  deliveryBody,
  type StreamOptions,
  type SubscribedTransmitter,
  waitOption,
  wantsStream,
} from './transmitter-stream.js'
import { addTransmitterUrgent } from './transmitter-urgent.js'

interface Transmitter extends SubscribedTransmitter {
  issuer: string
  ingest_url?: string
  enabled?: boolean
  tolerances?: Readonly<Record<string, boolean | number>>
}

interface AddOptions extends StreamOptions {
  name?: string
  issuer?: string
  audience?: string[]
  jwksUri?: string
  jwksFile?: string
  discover?: string | true
  algorithm?: string[]
  tolerance?: string[]
  urgentType?: string[]
  authorizationFile?: string
  wait: boolean
  timeout: number
}

export function addTransmitterCommands(cli: Cli, program: Command): void {
  const group = program
    .command('transmitter')
    .description('upstream transmitters: who may send SETs to the hub')
  addAdd(cli, group)
  addTransmitterVerify(cli, group)
  addTransmitterUrgent(cli, group)

  withApi<PageOptions>(
    cli,
    group
      .command('list')
      .description('all transmitters')
      .option('--limit <n>', 'at most this many', parseCount)
      .option('--cursor <cursor>', 'go on where a list ended'),
    async ({ api, print }, { limit, cursor }) => {
      const list = await api.get<ApiList<Transmitter>>(apiPath('transmitters'), { limit, cursor })
      print(list, () => renderTable(COLUMNS, list.items) + moreHint(list))
    },
  )

  withApi(
    cli,
    group.command('show').description('one transmitter').argument('<id>'),
    async ({ api, print }, _options, [id = '']) => {
      const transmitter = await api.get<Transmitter>(apiPath('transmitters', id))
      const { stream, tolerances, ...rest } = transmitter
      const shown = Object.entries(stream ?? {}).map(([name, value]) => [`stream.${name}`, value])
      print(transmitter, () =>
        renderFields({ ...rest, tolerances: forgiven(tolerances), ...Object.fromEntries(shown) }),
      )
    },
  )

  withApi(
    cli,
    group.command('remove').description('refuse its SETs from now on, and forget it').argument('<id>'),
    async ({ api, print }, _options, [id = '']) => {
      await api.delete(apiPath('transmitters', id))
      print({}, () => `removed transmitter ${id}\n`)
    },
  )
}

const COLUMNS = [
  { title: 'ID', value: (row: Transmitter) => row.id },
  { title: 'NAME', value: (row: Transmitter) => row.name },
  { title: 'ISSUER', value: (row: Transmitter) => row.issuer },
  { title: 'STATE', value: (row: Transmitter) => (row.enabled === false ? 'disabled' : 'enabled') },
  { title: 'TOLERANCES', value: ({ tolerances }: Transmitter) => forgiven(tolerances) },
  { title: 'STREAM', value: ({ stream }: Transmitter) => stream && streamState(stream) },
]

function addAdd(cli: Cli, group: Command): void {
  const command = group
    .command('add')
    .description('register a transmitter, to push to the URL that is printed or to make a stream at itself')
    .option('--name <name>', 'a name of your choice (default: the host of --discover)')
    .option('--issuer <url>', 'the exact iss of its SETs (default: what --discover says)')
    .option(
      '--audience <aud>',
      'the aud its SETs carry for this hub; repeat for more (with --delivery: what it assigns)',
      collect,
    )
    .option('--jwks-uri <url>', 'where its public keys are')
    .option('--jwks-file <file>', 'its public keys, a JWK Set, - for standard input')
    .option(
      '--discover [url]',
      'read its SSF metadata: the URL of the issuer or of the document (default: --issuer)',
    )
    .option('--algorithm <alg>', 'signature algorithm to accept; repeat for more', collect)
    .option(
      '--tolerance <name>',
      'what to forgive it, a switch of docs/transmitters.md; repeat for more',
      collect,
    )
    .option(
      '--urgent-type <type>',
      'URI or short name of a type that is urgent from it, beside those that always are; repeat for more',
      collect,
    )
    .option('--authorization-file <file>', 'Authorization value it must send, - for standard input')
  addStreamOptions(command)
    .option('--no-wait', 'do not wait until the stream is verified')
    .addOption(waitOption())
  examples(command, [
    'transmitter add --discover https://idp.example.com --client-id hub --secret-file secret',
    'transmitter add --name idp --issuer https://idp.example.com --audience https://hub.example.com --discover',
    'transmitter add --name keycloak --issuer https://sso.example.com/realms/a --audience hub --discover --tolerance session_id_all',
    'transmitter add --name itdr --issuer https://itdr.example.com --audience hub --jwks-file keys.json --authorization-file push-secret',
  ])
  withApi<AddOptions>(cli, command, (call, options) => register(cli, call, options))
}

async function register(cli: Cli, call: ApiCall, options: AddOptions): Promise<void> {
  const { api, io, print } = call
  const tolerances = tolerancesOf(options.tolerance, cli.hooks.tolerances)
  const urgentTypes = options.urgentType?.map((type) =>
    resolveType(type, cli.hooks.eventTypes, '--urgent-type'),
  )
  const delivery = await deliveryBody(cli, io, options)
  const body = {
    ...(await addBody(io, options)),
    ...(tolerances && { tolerances }),
    ...(urgentTypes && { urgent_types: urgentTypes }),
    ...(delivery && { delivery }),
  }
  const transmitter = await api.post<Transmitter>(apiPath('transmitters'), body)
  if (delivery && options.wait) return await awaitVerified(call, transmitter.id, options.timeout)
  print(transmitter, () =>
    renderFields({
      id: transmitter.id,
      name: transmitter.name,
      ...(delivery ? { stream: transmitter.stream?.state } : { 'push to': transmitter.ingest_url }),
    }),
  )
}

/** The switches that are on, and limits with their value. */
function forgiven(tolerances: Transmitter['tolerances'] = {}): string[] {
  return Object.entries(tolerances)
    .filter(([, value]) => value !== false)
    .map(([name, value]) => (value === true ? name : `${name}=${value}`))
}

/** @throws WrongUse for a name that is no switch */
function tolerancesOf(
  names: readonly string[] | undefined,
  known: readonly string[],
): Record<string, true> | undefined {
  const unknown = names?.find((name) => !known.includes(name))
  if (unknown !== undefined) {
    throw new WrongUse(`--tolerance ${unknown} is not known. Give one of: ${known.join(', ')}`)
  }
  return names && Object.fromEntries(names.map((name) => [name, true as const]))
}

function streamState({ state, status, verified_at: verifiedAt }: NonNullable<Transmitter['stream']>): string {
  if (state !== 'active') return state
  return verifiedAt === null ? 'not verified' : (status ?? 'verified')
}

async function addBody(io: CliIo, options: AddOptions): Promise<object> {
  const host = typeof options.discover === 'string' ? hostOf(options.discover) : undefined
  const name = options.name ?? host
  if (name === undefined) throw new WrongUse('--name is missing')
  const ways = [options.jwksUri, options.jwksFile, options.discover].filter(Boolean).length
  if (ways !== 1) {
    throw new WrongUse('say where the keys are: give one of --jwks-uri, --jwks-file or --discover')
  }
  if (options.jwksFile === '-' && options.authorizationFile === '-') {
    throw new WrongUse('--jwks-file and --authorization-file cannot both be standard input')
  }
  // Where discovery and the stream say them, they may be left out.
  if (!options.issuer && host === undefined) throw new WrongUse('--issuer is missing')
  if (!options.audience && !wantsStream(options)) throw new WrongUse('--audience is missing')
  const stdin = [options.jwksFile, options.authorizationFile, options.secretFile].filter(
    (file) => file === '-',
  )
  if (stdin.length > 1) throw new WrongUse('only one file can be standard input')
  return {
    name,
    ...(options.issuer && { issuer: options.issuer }),
    ...(options.audience && { audience: options.audience }),
    ...(options.jwksUri && { jwks_uri: options.jwksUri }),
    ...(options.jwksFile && {
      jwks: parseObject(await readInput(io, options.jwksFile, '--jwks-file'), '--jwks-file'),
    }),
    ...(options.discover && { discover: options.discover }),
    ...(options.algorithm && { algorithms: options.algorithm }),
    ...(options.authorizationFile && {
      authorization_header: await readSecret(io, options.authorizationFile, '--authorization-file'),
    }),
  }
}

/** @throws WrongUse */
function hostOf(url: string): string {
  if (!URL.canParse(url)) throw new WrongUse(`--discover ${url} is no URL`)
  return new URL(url).host
}
