import type { Command } from 'commander'
import { type ApiList, apiPath } from './api-client.js'
import { WrongUse } from './cli-errors.js'
import type { CliIo } from './cli-io.js'
import { type Cli, examples, moreHint, type PageOptions, withApi } from './command.js'
import { parseObject, readInput, readSecret } from './input.js'
import { renderFields, renderTable } from './table.js'
import { collect, parseCount } from './time-option.js'

interface Transmitter {
  id: string
  name: string
  issuer: string
  ingest_url?: string
  enabled?: boolean
}

interface AddOptions {
  name: string
  issuer: string
  audience: string[]
  jwksUri?: string
  jwksFile?: string
  discover?: string | true
  algorithm?: string[]
  authorizationFile?: string
}

export function addTransmitterCommands(cli: Cli, program: Command): void {
  const group = program
    .command('transmitter')
    .description('upstream transmitters: who may send SETs to the hub')
  addAdd(cli, group)

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
      print(transmitter, () => renderFields({ ...transmitter }))
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
]

function addAdd(cli: Cli, group: Command): void {
  const command = group
    .command('add')
    .description('register a transmitter; prints the URL it pushes to')
    .requiredOption('--name <name>', 'a name of your choice')
    .requiredOption('--issuer <url>', 'the exact iss of its SETs')
    .requiredOption('--audience <aud>', 'the aud its SETs carry for this hub; repeat for more', collect)
    .option('--jwks-uri <url>', 'where its public keys are')
    .option('--jwks-file <file>', 'its public keys, a JWK Set, - for standard input')
    .option(
      '--discover [url]',
      "read its keys from its SSF metadata (default: at the issuer's well-known place)",
    )
    .option('--algorithm <alg>', 'signature algorithm to accept; repeat for more', collect)
    .option('--authorization-file <file>', 'Authorization value it must send, - for standard input')
  examples(command, [
    'transmitter add --name idp --issuer https://idp.example.com --audience https://hub.example.com --discover',
    'transmitter add --name itdr --issuer https://itdr.example.com --audience hub --jwks-file keys.json --authorization-file push-secret',
  ])
  withApi<AddOptions>(cli, command, async ({ api, io, print }, options) => {
    const transmitter = await api.post<Transmitter>(apiPath('transmitters'), await addBody(io, options))
    print(transmitter, () =>
      renderFields({ id: transmitter.id, name: transmitter.name, 'push to': transmitter.ingest_url }),
    )
  })
}

async function addBody(io: CliIo, options: AddOptions): Promise<object> {
  const ways = [options.jwksUri, options.jwksFile, options.discover].filter(Boolean).length
  if (ways !== 1) {
    throw new WrongUse('say where the keys are: give one of --jwks-uri, --jwks-file or --discover')
  }
  if (options.jwksFile === '-' && options.authorizationFile === '-') {
    throw new WrongUse('--jwks-file and --authorization-file cannot both be standard input')
  }
  return {
    name: options.name,
    issuer: options.issuer,
    audience: options.audience,
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
