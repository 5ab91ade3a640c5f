import type { RequestHandler } from 'express'
import { MethodNotAllowed } from '../kernel/errors.js'

/** 405 and not 404: a receiver takes it as unsupported, not as a stream that is gone. @param allowed `GET, POST` */
export function refuseMethod(allowed: string): RequestHandler {
  return () => {
    throw new MethodNotAllowed(allowed)
  }
}
