import assert from 'node:assert/strict'
import { faultOf } from '../../support/answer-check.js'
import type { Refusal } from './refusal.js'

export interface SeenRefusal {
  readonly status: number
  readonly headers: Headers
  readonly text: string
}

/** Status, body and headers are exactly those of the refusal, and there is nothing else. */
export function assertRefusal({ status, headers, text }: SeenRefusal, refusal: Refusal): void {
  const { title } = refusal
  const body = JSON.parse(text) as { code: string; message: string }
  assert.deepEqual([title, status, body.code], [title, refusal.status, refusal.code], text)
  assert.deepEqual(Object.keys(body), ['code', 'message'], title)
  assert.match(body.message, refusal.names ?? /^.{10,}$/s, title)
  assert.ok(body.message.length < 2_000, title)
  assert.equal(headers.get('content-type'), 'application/json; charset=utf-8', title)
  assert.equal(headers.get('cache-control'), 'no-store', title)
  assert.equal(headers.get('x-content-type-options'), 'nosniff', title)
  assert.match(headers.get('x-request-id') ?? '', /^[0-9a-f-]{36}$/, title)
  assert.equal(headers.get('www-authenticate'), refusal.challenge ?? null, title)
  assert.equal(headers.get('allow'), refusal.allow ?? null, title)
  if (refusal.retryAfterS === undefined) assert.equal(headers.get('retry-after'), null, title)
  else {
    const waitS = Number(headers.get('retry-after'))
    const [least, most] = refusal.retryAfterS
    assert.ok(Number.isInteger(waitS) && waitS >= least && waitS <= most, `${title}: Retry-After ${waitS}`)
  }
  for (const name of ['location', 'etag', 'x-powered-by', 'set-cookie']) {
    assert.equal(headers.get(name), null, `${title}: ${name}`)
  }
  // A hub that is a child process is out of reach of answer-hooks.ts.
  const { method, path: url } = refusal
  assert.equal(faultOf({ method, url, status, headers: Object.fromEntries(headers), body: text }), undefined)
}
