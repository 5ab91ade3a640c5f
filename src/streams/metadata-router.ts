import { Router } from 'express'
import { endpointUrl, issuerPath } from '../kernel/issuer-url.js'
import { present } from '../kernel/present.js'
import type { DefaultSubjects } from './default-subjects.js'
import { METHOD_URI, type StreamSettings } from './stream.js'

/**
 * Where the metadata of an issuer stands: the well-known path goes between host and path, never behind
 * (SSF 1.0 §7.2.1).
 */
export function metadataPath(issuer: string): string {
  return `/.well-known/ssf-configuration${issuerPath(issuer)}`
}

/** Where a route is mounted: below the issuer's path, and at the root. */
export function pathsBelow(issuer: string, path: string): string[] {
  return [...new Set([`${issuerPath(issuer)}${path}`, path])]
}

/** SSF 1.0 §7.1, but for `default_subjects`. Public, for a receiver has no token before it has read it; no empty arrays (§7.2.3). */
export function transmitterMetadata(issuer: string): object {
  const url = (path: string) => endpointUrl(issuer, path)
  return {
    spec_version: '1_0',
    issuer,
    jwks_uri: url('/ssf/jwks.json'),
    delivery_methods_supported: [METHOD_URI.push, METHOD_URI.poll],
    configuration_endpoint: url('/ssf/streams'),
    status_endpoint: url('/ssf/status'),
    add_subject_endpoint: url('/ssf/subjects/add'),
    remove_subject_endpoint: url('/ssf/subjects/remove'),
    verification_endpoint: url('/ssf/verify'),
    authorization_schemes: [{ spec_urn: 'urn:ietf:rfc:6749' }],
  }
}

export interface MetadataRouterOptions {
  settings: Pick<StreamSettings, 'issuer'>
  readonly defaultSubjects: DefaultSubjects
  /** Public keys only. */
  jwks(): { keys: object[] }
  /** How long they may be cached, in seconds. Default 60. */
  jwksMaxAgeS?: number
}

/** Mounted at the root of the host. Keys are published before their first use, longer than this cache lives. */
export function metadataRouter(options: MetadataRouterOptions): Router {
  const { issuer } = options.settings
  const metadata = transmitterMetadata(issuer)
  const router = Router()
  router.get(metadataPath(issuer), async (_req, res) => {
    const known = present({ default_subjects: await options.defaultSubjects() })
    res.set('Cache-Control', 'public, max-age=300').json({ ...metadata, ...known })
  })
  router.get(`${issuerPath(issuer)}/ssf/jwks.json`, (_req, res) => {
    // First, for it may throw: an error must not be cached.
    const jwks = options.jwks()
    res.set('Cache-Control', `public, max-age=${options.jwksMaxAgeS ?? 60}`).json(jwks)
  })
  return router
}
