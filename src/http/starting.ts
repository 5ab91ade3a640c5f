import type { RequestListener } from 'node:http'
import { Unavailable } from '../kernel/errors.js'

/** Answers everything with 503 while the port is already held and the hub behind it is not ready yet. */
export const answerStarting: RequestListener = (_req, res) => {
  const error = new Unavailable('The hub is starting; try again in a moment.')
  res.writeHead(error.status, {
    'Content-Type': 'application/json; charset=utf-8',
    'Cache-Control': 'no-store',
    'Retry-After': String(error.retryAfterS),
  })
  res.end(JSON.stringify({ code: error.code, message: error.message }))
}
