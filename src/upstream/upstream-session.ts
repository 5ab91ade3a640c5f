import type { IssuerMetadata } from '../ingest/discovery.js'
import type { Clock } from '../kernel/clock.js'
import type { Outgoing } from '../outgoing/outgoing.js'
import { createAuthorizedRequest } from './authorized-request.js'
import { createManagementClient, type ManagementClient } from './management-client.js'
import { createPollClient, type PollClient } from './poll-client.js'
import { parseEndpoints } from './ssf-endpoints.js'
import { createTokenSource } from './token-source.js'
import { UpstreamFailed } from './upstream-errors.js'
import type { Sealer } from './upstream-service.js'
import { authorizationContext, secretContext, type UpstreamStream } from './upstream-stream.js'

export interface SessionOptions {
  outgoing: Pick<Outgoing, 'request' | 'checkUrl'>
  keys: Pick<Sealer, 'open'>
  clock: Clock
  /** Reads and checks the SSF metadata of an issuer. Throws HubError. */
  readMetadata(metadataUrl: string, issuer: string): Promise<IssuerMetadata>
}

interface OpenOptions extends SessionOptions {
  /** Ends calls of the management API: what they were for is done by the next keeper. */
  signal: AbortSignal
}

/** Everything that is asked of one transmitter, with one set of credentials. */
export interface UpstreamSession {
  readonly version: number
  /** The header with which the transmitter pushes. */
  readonly authorization: string | undefined
  readonly poll: PollClient
  /** Reads the metadata at its first call; polls can go on without. @throws UpstreamFailed */
  management(): Promise<ManagementClient>
}

export function openSession(stream: UpstreamStream, options: OpenOptions): UpstreamSession {
  const { outgoing, keys, clock } = options
  const { transmitterId, issuer, metadataUrl, credentials, sealedAuthorization } = stream
  const secret = keys.open(stream.sealedSecret, secretContext(transmitterId)).toString()
  const tokens = createTokenSource({ credentials, secret, issuer, outgoing, clock })
  const authorization =
    sealedAuthorization && keys.open(sealedAuthorization, authorizationContext(transmitterId)).toString()
  const send = createAuthorizedRequest(outgoing, tokens, [
    secret,
    ...(authorization === undefined ? [] : [authorization]),
  ])
  let management: Promise<ManagementClient> | undefined

  async function connect(): Promise<ManagementClient> {
    const { document } = await options.readMetadata(metadataUrl, issuer)
    const endpoints = parseEndpoints(document)
    if (!endpoints) throw new UpstreamFailed('The metadata document has no "configuration_endpoint".')
    return createManagementClient({ endpoints, issuer, send, clock, signal: options.signal })
  }

  return {
    version: stream.version,
    authorization,
    poll: createPollClient({ send, clock }),
    management() {
      management ??= connect()
      management.catch(() => {
        management = undefined
      })
      return management
    },
  }
}
