import type { Command } from 'commander'
import { apiPath } from './api-client.js'
import { WrongUse } from './cli-errors.js'
import type { CliIo } from './cli-io.js'
import { type Cli, examples, withApi } from './command.js'
import { readInput } from './input.js'
import { renderFields } from './table.js'

interface Certificate {
  subject: string
  not_after: string
  fingerprint_sha256: string
}

interface StreamTls {
  origin: string
  in_use: boolean
  ca: Certificate[]
  client_certificate: Certificate | null
}

interface TlsFiles {
  caFile?: string
  certFile?: string
  keyFile?: string
}

/** Whom the hub believes, and what it shows, when it pushes to one stream. */
export function addStreamTlsCommands(cli: Cli, streams: Command): void {
  const group = streams.command('tls').description('authorities and client certificate of a push stream')
  addSet(cli, group)

  withApi(
    cli,
    group.command('show').description('what holds for a stream').argument('<id>'),
    async ({ api, print }, _options, [id = '']) => {
      const tls = await api.get<StreamTls>(apiPath('streams', id, 'tls'))
      print(tls, () => render(tls))
    },
  )

  withApi(
    cli,
    group
      .command('clear')
      .description("go by the system's authorities again, and show no certificate")
      .argument('<id>'),
    async ({ api, print }, _options, [id = '']) => {
      await api.delete(apiPath('streams', id, 'tls'))
      print({}, () => `stream ${id} goes by the system's authorities\n`)
    },
  )
}

function addSet(cli: Cli, group: Command): void {
  const command = group
    .command('set')
    .description('in place of what holds: authorities, a client certificate with its key, or both')
    .argument('<id>')
    .option('--ca-file <file>', 'PEM of the authorities that alone are believed, - for standard input')
    .option('--cert-file <file>', 'PEM of the client certificate and its chain, - for standard input')
    .option('--key-file <file>', 'PEM of its private key, not encrypted, - for standard input')
  examples(command, [
    'stream tls set <id> --ca-file company-ca.pem',
    'stream tls set <id> --ca-file company-ca.pem --cert-file hub.pem --key-file hub.key',
  ])
  withApi<TlsFiles>(cli, command, async ({ api, io, print }, files, [id = '']) => {
    const tls = await api.put<StreamTls>(apiPath('streams', id, 'tls'), await bodyOf(io, files))
    print(tls, () => render(tls))
  })
}

async function bodyOf(io: CliIo, { caFile, certFile, keyFile }: TlsFiles): Promise<object> {
  if (!caFile && !certFile && !keyFile) throw new WrongUse('give --ca-file, or --cert-file and --key-file')
  if (Boolean(certFile) !== Boolean(keyFile)) throw new WrongUse('give both --cert-file and --key-file')
  if ([caFile, certFile, keyFile].filter((file) => file === '-').length > 1) {
    throw new WrongUse('only one file can be standard input')
  }
  return {
    ...(caFile && { ca: await readInput(io, caFile, '--ca-file') }),
    ...(certFile && { certificate: await readInput(io, certFile, '--cert-file') }),
    ...(keyFile && { private_key: await readInput(io, keyFile, '--key-file') }),
  }
}

function render({ origin, in_use: inUse, ca, client_certificate: client }: StreamTls): string {
  const inWords = (one: Certificate) => `${one.subject}, until ${one.not_after}, ${one.fingerprint_sha256}`
  return renderFields({
    for: origin,
    ...(inUse ? {} : { 'not in use': 'the endpoint of the stream is elsewhere' }),
    believes: ca.length > 0 ? ca.map(inWords) : 'the authorities of the system',
    shows: client ? inWords(client) : 'no certificate',
  })
}
