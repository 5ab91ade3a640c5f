/** The path that all endpoints of an issuer share: '' or `/t1`, without trailing slash. */
export function issuerPath(issuer: string): string {
  return new URL(issuer).pathname.replace(/\/$/, '')
}

/** A trailing slash of the issuer does not double in what is made from it. */
export function endpointUrl(issuer: string, path: string): string {
  return `${issuer.replace(/\/$/, '')}${path}`
}

/** Where the SETs of a transmitter are taken (RFC 8935). */
export function ingestUrl(issuer: string, transmitterId: string): string {
  return endpointUrl(issuer, `/ingest/${transmitterId}`)
}
