import { type RequestHandler, Router } from 'express'
import { MethodNotAllowed } from '../kernel/errors.js'
import type { OpenApiDocument } from './openapi.js'

/** 405 with Allow (RFC 9110 §15.5.6) where a described path takes other methods. To be mounted last. */
export function methodRouter({ paths }: OpenApiDocument): Router {
  const router = Router({ caseSensitive: true })
  for (const [path, item] of Object.entries(paths)) {
    // The management port has routes of its own.
    if ('servers' in item) continue
    router.all(path.replace(/\{(\w+)\}/g, ':$1'), refuse(Object.keys(item).join(', ').toUpperCase()))
  }
  return router
}

/** OPTIONS is answered by express, from the routes. */
function refuse(allowed: string): RequestHandler {
  return (req, _res, next) => next(req.method === 'OPTIONS' ? undefined : new MethodNotAllowed(allowed))
}
