import type { RequestHandler } from 'express'
import { HubError } from '../kernel/errors.js'
import type { ErrorWithHeaders } from './errors.js'

export class MethodNotAllowed extends HubError implements ErrorWithHeaders {
  readonly code = 'ERR_METHOD_NOT_ALLOWED'
  readonly status = 405
  readonly responseHeaders: Readonly<Record<string, string>>

  /** @param allowed as in `Allow`: `GET, POST` */
  constructor(allowed: string) {
    super(`Use ${allowed} here.`)
    this.responseHeaders = { Allow: allowed }
  }
}

/** 405 and not 404: a receiver takes it as unsupported, not as a stream that is gone. */
export function refuseMethod(allowed: string): RequestHandler {
  return () => {
    throw new MethodNotAllowed(allowed)
  }
}
