import { Router } from 'express'
import { resourceMetadata, wellKnownPath } from './authorization-metadata.js'

/** RFC 9728 §3.1: public; tells a receiver which authorization server to ask for a token. */
export function resourceMetadataRouter(issuer: string, authorizationServer: string): Router {
  const metadata = resourceMetadata(issuer, authorizationServer)
  return Router().get(wellKnownPath(issuer, 'oauth-protected-resource'), (_req, res) => {
    res.set('Cache-Control', 'public, max-age=300').json(metadata)
  })
}
