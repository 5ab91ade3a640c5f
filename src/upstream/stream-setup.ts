import type { ConfigurationRequest, ManagementClient, Outcome } from './management-client.js'
import { METHOD_URI } from './ssf-endpoints.js'
import type { UpstreamConfiguration } from './stream-configuration.js'
import { isTooLarge, UpstreamFailed, UpstreamMistrusted } from './upstream-errors.js'
import type { EstablishedStream, UpstreamStream } from './upstream-stream.js'

export interface StreamSetupOptions {
  client: ManagementClient
  /** Where the transmitter pushes to. */
  ingestUrl: string
  /** The Authorization header that it pushes with. */
  authorization: string | undefined
  /** Tells our stream from others of the same credentials. */
  description: string
  /** Whether another transmitter of ours holds this stream. */
  isTaken(streamId: string): Promise<boolean>
  checkUrl(url: string): Promise<void>
  rest(ms: number): Promise<void>
}

/** With it begins how each hub describes its streams; the hub's issuer and the transmitter's id follow. */
export const DESCRIPTION_START = 'Firebreak '
const LATER_READS = 5
const LATER_WAIT_MS = 1_000

/**
 * Makes the stream there, or changes the one there is (SSF 1.0 §8.1.1.1 to §8.1.1.4).
 * @throws UpstreamFailed, UpstreamMistrusted, AddressRefused
 */
export async function setUpStream(
  stream: UpstreamStream,
  options: StreamSetupOptions,
): Promise<EstablishedStream> {
  const { client } = options
  const request = requestOf(stream, options)
  const known = stream.streamId ?? (await findOwn(options))
  const changed = known === undefined ? undefined : await change(known, request, options)
  return await accept(changed ?? (await create()), stream, options)

  async function create(): Promise<UpstreamConfiguration> {
    const created = await client.create(request)
    if (created.outcome === 'done') return created.value
    if (created.outcome !== 'conflict') throw cannot('create', created)
    const other = await findFree(options)
    const reused = other === undefined ? undefined : await change(other, request, options)
    if (reused) return reused
    throw new UpstreamFailed(
      'The transmitter allows one stream for these credentials, and another transmitter of this hub holds it.',
    )
  }
}

/** Only receiver-supplied members (SSF 1.0 §8.1.1.1). */
function requestOf(
  { method, eventsRequested }: UpstreamStream,
  { ingestUrl, authorization, description }: StreamSetupOptions,
): ConfigurationRequest {
  return {
    events_requested: eventsRequested,
    description,
    delivery: {
      method: METHOD_URI[method],
      ...(method === 'push' && {
        endpoint_url: ingestUrl,
        ...(authorization !== undefined && { authorization_header: authorization }),
      }),
    },
  }
}

/** One whose making was answered to nobody: the process ended, or the connection. */
async function findOwn({ client, ingestUrl, description }: StreamSetupOptions): Promise<string | undefined> {
  const listed = await client.list().catch((error: unknown) => {
    if (error instanceof UpstreamFailed && (error.answered !== undefined || isTooLarge(error)))
      return undefined
    throw error
  })
  if (listed?.outcome !== 'done') return undefined
  const isOwn = (stream: UpstreamConfiguration) =>
    stream.endpointUrl === ingestUrl || stream.description === description
  return listed.value.find(isOwn)?.streamId
}

async function findFree(options: StreamSetupOptions): Promise<string | undefined> {
  const listed = await options.client.list()
  if (listed.outcome !== 'done') throw cannot('list', listed)
  const free = listed.value.filter((stream) => !isOfAnotherSystem(stream, options))
  for (const { streamId } of free) if (!(await options.isTaken(streamId))) return streamId
  if (free.length === listed.value.length) return undefined
  throw new UpstreamFailed(
    'The transmitter allows one stream for these credentials, and another system holds it: delete that stream there, or give this hub credentials of its own.',
  )
}

/** Another hub's by its description, or one that is pushed elsewhere: taken over, its SETs would be lost there. */
function isOfAnotherSystem(
  stream: UpstreamConfiguration,
  { ingestUrl, description }: StreamSetupOptions,
): boolean {
  // Of this hub whatever the transmitter's id: one that was removed may have left it behind.
  const ours = description.slice(0, description.lastIndexOf(' ') + 1)
  const pushed = ingestUrl.slice(0, ingestUrl.lastIndexOf('/') + 1)
  const isOfAnotherHub =
    stream.description?.startsWith(DESCRIPTION_START) === true && !stream.description.startsWith(ours)
  const isPushedElsewhere =
    stream.method === 'push' && stream.endpointUrl !== undefined && !stream.endpointUrl.startsWith(pushed)
  return isOfAnotherHub || isPushedElsewhere
}

/** Undefined when it is gone. What cannot be changed is deleted and made again. */
async function change(
  streamId: string,
  request: ConfigurationRequest,
  options: StreamSetupOptions,
): Promise<UpstreamConfiguration | undefined> {
  const { client } = options
  const changed = await client.update(streamId, request).catch((error: unknown): Outcome<never> => {
    if (error instanceof UpstreamFailed && error.answered === 400) return { outcome: 'unsupported' }
    throw error
  })
  if (changed.outcome === 'done') return changed.value
  if (changed.outcome === 'gone') return undefined
  if (changed.outcome === 'later') return await readLater(streamId, request, options)
  const deleted = await client.delete(streamId)
  if (deleted.outcome === 'unsupported' || deleted.outcome === 'conflict') throw cannot('delete', deleted)
  const created = await client.create(request)
  if (created.outcome === 'done') return created.value
  throw cannot('create', created)
}

/** SSF 1.0 §8.1.1.3: 202 says that the change comes; it is there once the configuration shows it. */
async function readLater(
  streamId: string,
  request: ConfigurationRequest,
  { client, rest }: StreamSetupOptions,
): Promise<UpstreamConfiguration | undefined> {
  for (let tried = 1; tried <= LATER_READS; tried += 1) {
    await rest(LATER_WAIT_MS)
    const read = await client.read(streamId)
    if (read.outcome === 'gone') return undefined
    if (read.outcome === 'done' && shows(read.value, request)) return read.value
  }
  throw new UpstreamFailed('The transmitter took the change of the stream, and does not show it yet.')
}

function shows(configuration: UpstreamConfiguration, { delivery }: ConfigurationRequest): boolean {
  const { method, endpointUrl } = configuration
  const isSame = method !== undefined && METHOD_URI[method] === delivery.method
  return isSame && (delivery.endpoint_url === undefined || delivery.endpoint_url === endpointUrl)
}

/** What is believed of the answer. `iss` was compared when it was read. */
async function accept(
  configuration: UpstreamConfiguration,
  stream: UpstreamStream,
  { checkUrl, isTaken }: StreamSetupOptions,
): Promise<EstablishedStream> {
  const { method, endpointUrl, audience, ...rest } = configuration
  if (method !== stream.method) {
    throw new UpstreamFailed(
      `The transmitter made a stream of another delivery method than ${stream.method}.`,
    )
  }
  if (await isTaken(configuration.streamId)) {
    throw new UpstreamFailed('Another transmitter of this hub holds the stream that the transmitter gave.')
  }
  if (method === 'poll') {
    if (endpointUrl === undefined) throw new UpstreamFailed('The poll stream has no "endpoint_url".')
    await checkUrl(endpointUrl)
  }
  return {
    streamId: rest.streamId,
    audience: pinned(audience, stream.audienceExpected),
    ...(rest.eventsDelivered && { eventsDelivered: rest.eventsDelivered }),
    ...(method === 'poll' && { pollUrl: endpointUrl as string }),
    ...(rest.minVerificationIntervalS !== undefined && {
      minVerificationIntervalS: rest.minVerificationIntervalS,
    }),
    ...(rest.inactivityTimeoutS !== undefined && { inactivityTimeoutS: rest.inactivityTimeoutS }),
  }
}

/** SSF 1.0 §8.1.1.1.1: the audience is compared with what was expected; from then on SETs must name it. */
function pinned(audience: readonly string[], expected: readonly string[]): readonly string[] {
  if (audience.length === 0) throw new UpstreamFailed('The stream configuration has no "aud".')
  const fit = expected.length === 0 ? audience : audience.filter((name) => expected.includes(name))
  if (fit.length > 0) return fit
  throw new UpstreamMistrusted(
    `The stream is for another audience than expected: ${audience.slice(0, 5).join(', ').slice(0, 200)}.`,
  )
}

function cannot(what: string, { outcome }: { outcome: string }): UpstreamFailed {
  return new UpstreamFailed(`The transmitter cannot ${what} a stream now (${outcome}).`)
}
