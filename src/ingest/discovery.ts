import { InvalidRequest } from '../kernel/errors.js'
import type { Outgoing } from '../outgoing/outgoing.js'
import { OutgoingFailed } from '../outgoing/outgoing-errors.js'

const WELL_KNOWN = '/.well-known/ssf-configuration'
const DEADLINE_MS = 5_000

/** SSF 1.0 §7.2: the well-known part goes between the host and the path of the issuer. Undefined for what is no URL. */
export function metadataUrlOf(issuer: string): string | undefined {
  if (!URL.canParse(issuer)) return undefined
  const url = new URL(issuer)
  return `${url.origin}${WELL_KNOWN}${url.pathname.replace(/\/+$/, '')}`
}

/**
 * Reads an issuer's SSF metadata and gives its `jwks_uri`. A document of another issuer is discarded.
 * @throws AddressRefused, or InvalidRequest that says what was found instead
 */
export async function discoverJwksUri(
  outgoing: Pick<Outgoing, 'checkUrl' | 'request'>,
  metadataUrl: string,
  issuer: string,
): Promise<string> {
  await outgoing.checkUrl(metadataUrl)
  const document = await fetchMetadata(outgoing, metadataUrl)
  if (document.issuer !== issuer) {
    throw new InvalidRequest(
      'The metadata document names another "issuer"; register the issuer exactly as it says.',
    )
  }
  const { jwks_uri: jwksUri } = document
  if (typeof jwksUri !== 'string') {
    throw new InvalidRequest(
      'The metadata document has no "jwks_uri"; give jwks_uri or jwks instead of discover.',
    )
  }
  await outgoing.checkUrl(jwksUri)
  return jwksUri
}

async function fetchMetadata(
  outgoing: Pick<Outgoing, 'request'>,
  url: string,
): Promise<Record<string, unknown>> {
  const unusable = 'The metadata document cannot be read: the hub needs status 200 and a JSON object.'
  let body: Buffer
  try {
    const request = {
      url,
      method: 'GET',
      headers: { accept: 'application/json' },
      deadlineMs: DEADLINE_MS,
    } as const
    const answer = await outgoing.request({ ...request, pool: 'metadata' })
    if (answer.status !== 200) throw new InvalidRequest(unusable, { detail: `status ${answer.status}` })
    body = answer.body
  } catch (cause) {
    if (cause instanceof OutgoingFailed) throw new InvalidRequest(unusable, { cause, detail: cause.reason })
    throw cause
  }
  try {
    const value: unknown = JSON.parse(body.toString('utf8'))
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>
  } catch {
    // Not JSON: the same answer as JSON of another shape.
  }
  throw new InvalidRequest(unusable)
}
