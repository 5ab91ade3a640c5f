import { InvalidRequest } from '../kernel/errors.js'
import type { Outgoing } from '../outgoing/outgoing.js'
import { OutgoingFailed } from '../outgoing/outgoing-errors.js'
import { isJsonObject } from '../secevent/canonical-json.js'

const WELL_KNOWN = '/.well-known/ssf-configuration'
const DEADLINE_MS = 5_000

/** The SSF metadata of an issuer (SSF 1.0 §7.1) that was believed. */
export interface IssuerMetadata {
  readonly metadataUrl: string
  readonly issuer: string
  readonly jwksUri: string
  readonly document: Readonly<Record<string, unknown>>
}

type Door = Pick<Outgoing, 'checkUrl' | 'request'>

/** SSF 1.0 §7.2: the well-known part goes between the host and the path of the issuer. Undefined for what is no URL. */
export function metadataUrlOf(issuer: string): string | undefined {
  if (!URL.canParse(issuer)) return undefined
  const url = new URL(issuer)
  return `${url.origin}${WELL_KNOWN}${url.pathname.replace(/\/+$/, '')}`
}

/**
 * Reads an issuer's SSF metadata. A document of another issuer is discarded (SSF 1.0 §7.2.4).
 * @param discover true: at the issuer's well-known place. A URL: of the document, or of the issuer
 * @param issuer who it must be; without it the URL says
 * @throws AddressRefused, or InvalidRequest that says what was found instead
 */
export async function discoverIssuer(
  outgoing: Door,
  discover: true | string,
  issuer?: string,
): Promise<IssuerMetadata> {
  const url = discover === true ? issuer : discover
  if (url === undefined || !URL.canParse(url)) {
    throw new InvalidRequest(
      discover === true ? 'issuer must be a URL when discover is true.' : 'discover must be true or a URL.',
    )
  }
  if (discover !== true && (isWellKnown(url) || (issuer !== undefined && issuer !== url))) {
    return await readIssuerMetadata(outgoing, url, issuer)
  }
  return await readIssuerMetadata(outgoing, metadataUrlOf(url) as string, url)
}

/**
 * @param issuer who it must be; without it the one whose well-known place this URL is
 * @throws as discoverIssuer
 */
export async function readIssuerMetadata(
  outgoing: Door,
  metadataUrl: string,
  issuer?: string,
): Promise<IssuerMetadata> {
  await outgoing.checkUrl(metadataUrl)
  const document = await fetchMetadata(outgoing, metadataUrl)
  const named = document.issuer
  const isRight =
    typeof named === 'string' &&
    (issuer === undefined ? metadataUrlOf(named) === metadataUrl : named === issuer)
  if (!isRight) {
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
  return { metadataUrl, issuer: named, jwksUri, document }
}

function isWellKnown(url: string): boolean {
  return new URL(url).pathname.startsWith('/.well-known/')
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
    if (isJsonObject(value)) return value
  } catch {
    // Not JSON: the same answer as JSON of another shape.
  }
  throw new InvalidRequest(unusable)
}
