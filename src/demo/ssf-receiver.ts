/** An SSF receiver as a stranger would write it, from the specification and the hub's documents alone. */
export type Credentials = { clientId: string; clientSecret: string } | { token: string }

export interface SsfMetadata {
  issuer: string
  jwks_uri: string
  configuration_endpoint: string
}

export interface StreamConfiguration {
  stream_id: string
  iss: string
  aud: string | string[]
  delivery: { method: string; endpoint_url: string }
}

export interface PollAnswer {
  sets: Record<string, string>
}

const POLL_DEADLINE_MS = 65_000
const CALL_DEADLINE_MS = 10_000
const SCOPES = 'ssf.read ssf.manage'

/** SSF 1.0 §7.2.1: the well-known part stands between host and path of the issuer. */
function wellKnownUrl(issuer: string, name: string): string {
  const url = new URL(issuer)
  return `${url.origin}/.well-known/${name}${url.pathname.replace(/\/$/, '')}`
}

export async function discover(issuer: string): Promise<SsfMetadata> {
  const metadata = (await readJson(
    await fetch(wellKnownUrl(issuer, 'ssf-configuration'), deadline()),
  )) as SsfMetadata
  if (metadata.issuer !== issuer) throw new Error(`metadata names issuer ${metadata.issuer}, not ${issuer}`)
  return metadata
}

/** Client credentials at the authorization server named by RFC 8414 metadata, or the token that was issued. */
export async function getAccessToken(issuer: string, credentials: Credentials): Promise<string> {
  if ('token' in credentials) return credentials.token
  const server = await fetch(wellKnownUrl(issuer, 'oauth-authorization-server'), deadline())
  const { token_endpoint } = (await readJson(server)) as { token_endpoint: string }
  const basic = [credentials.clientId, credentials.clientSecret].map(encodeURIComponent).join(':')
  const response = await fetch(token_endpoint, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(basic).toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', scope: SCOPES }),
    ...deadline(),
  })
  return ((await readJson(response)) as { access_token: string }).access_token
}

export interface SsfSession {
  readonly issuer: string
  readonly token: string
}

/** SSF 1.0 §8.1.1.1. */
export async function createStream(
  session: SsfSession,
  metadata: SsfMetadata,
  wanted: { events_requested: string[]; delivery: object; description: string },
): Promise<StreamConfiguration> {
  const stream = (await postJson(session, metadata.configuration_endpoint, wanted)) as StreamConfiguration
  if (stream.iss !== metadata.issuer) throw new Error(`the stream names issuer ${stream.iss}`)
  return stream
}

/** RFC 8936 §2.4: acknowledges what the last answer brought, and waits for more. */
export async function poll(session: SsfSession, endpointUrl: string, body: object): Promise<PollAnswer> {
  return (await postJson(session, endpointUrl, body, POLL_DEADLINE_MS)) as PollAnswer
}

/** `POST /v1/acknowledgements`: the revocation took effect here. Answers the result for this jti. */
export async function reportApplied(session: SsfSession, jti: string, streamId: string): Promise<string> {
  const report = { acknowledgements: [{ jti, stream_id: streamId, status: 'applied' }] }
  const url = `${new URL(session.issuer).origin}/v1/acknowledgements`
  const { results } = (await postJson(session, url, report)) as { results: { result: string }[] }
  return results[0]?.result ?? 'unknown'
}

async function postJson(
  session: SsfSession,
  url: string,
  body: object,
  deadlineMs?: number,
): Promise<unknown> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { authorization: `Bearer ${session.token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
    ...deadline(deadlineMs),
  })
  return readJson(response)
}

async function readJson(response: Response): Promise<unknown> {
  const text = await response.text()
  if (!response.ok) throw new Error(`${response.url} answered ${response.status}: ${text.slice(0, 300)}`)
  return JSON.parse(text)
}

function deadline(ms = CALL_DEADLINE_MS): { redirect: 'error'; signal: AbortSignal } {
  return { redirect: 'error', signal: AbortSignal.timeout(ms) }
}
