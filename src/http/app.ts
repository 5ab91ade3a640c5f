import { randomUUID } from 'node:crypto'
import express, { type Express, type Request, type RequestHandler } from 'express'
import { createClientAddress } from './client-address.js'
import { type ErrorRenderOptions, renderErrors, unknownRoute } from './errors.js'

export interface AppOptions extends ErrorRenderOptions {
  /** Mounts the rooms' routers, in order. */
  mount(app: Express): void
  /** Addresses or CIDRs of proxies whose X-Forwarded-For is believed. Default: none. */
  trustedProxies?: readonly string[]
}

/**
 * The shell around all routers: request id, safe default headers, 404 and error rendering.
 * It parses no body: each route authenticates first and then parses (docs/conformance.md T-45).
 */
export function createApp(options: AppOptions): Express {
  const app = express()
  app.disable('x-powered-by')
  // No conditional answers from a management API, and no hashing of each body.
  app.set('etag', false)
  app.set('case sensitive routing', true)
  app.set('query parser', 'simple')
  // One reading of X-Forwarded-For for all doors. Express's own `trust proxy` stays off, so neither X-Forwarded-Proto
  // nor X-Forwarded-Host counts, whoever sends it: what the hub says of itself comes from ISSUER.
  const addressOf = createClientAddress(options.trustedProxies ?? [])
  Object.defineProperty(app.request, 'ip', {
    get(this: Request) {
      return addressOf(this)
    },
  })
  app.use(prepareResponse)
  options.mount(app)
  app.use(unknownRoute)
  app.use(renderErrors(options))
  return app
}

/** No-store is right for all but public metadata, whose routes set their own. */
const prepareResponse: RequestHandler = (_req, res, next) => {
  const requestId = randomUUID()
  res.locals.requestId = requestId
  res.set({ 'X-Request-Id': requestId, 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff' })
  next()
}
