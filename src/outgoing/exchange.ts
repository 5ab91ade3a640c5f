import type { Agent, Dispatcher } from 'undici'
import type { OutgoingMethod, OutgoingResponse } from './outgoing.js'
import { isReset, OutgoingFailed, toOutgoingFailed } from './outgoing-errors.js'
import type { Target } from './url-rules.js'

export interface ExchangeRequest {
  target: Target
  method: OutgoingMethod
  headers: Record<string, string>
  body?: string | Buffer
  /** `performance.now()` at which it is over, whatever it is doing. */
  endsAtMs: number
  maxBytes: number
  signal?: AbortSignal
}

/**
 * One request and its whole answer on undici's `dispatch` (two thirds of the cost of `request`, a tenth of `fetch`).
 * undici's own timeouts watch single phases and a drip feed never trips them: one timer here covers waiting for a
 * connection, DNS, TLS, headers and body.
 */
export function exchange(agent: Agent, request: ExchangeRequest): Promise<OutgoingResponse> {
  return new Promise((resolve, reject) => {
    const { signal } = request
    const settled = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', stop)
    }
    const answer = createAnswer(request, {
      resolve(response) {
        settled()
        resolve(response)
      },
      reject(error) {
        settled()
        reject(error)
      },
    })
    const stop = () => answer.abort(new OutgoingFailed('aborted', { detail: 'the caller ended it' }))
    const timer = setTimeout(
      () => answer.abort(new OutgoingFailed('timeout', { detail: 'the total deadline passed' })),
      Math.max(0, request.endsAtMs - performance.now()),
    )
    signal?.addEventListener('abort', stop)
    if (signal?.aborted) return stop()
    try {
      const { target } = request
      agent.dispatch(
        {
          origin: target.origin,
          path: target.path,
          method: request.method,
          headers: { ...request.headers, 'accept-encoding': 'identity' },
          body: request.body ?? null,
        },
        answer.handler,
      )
    } catch (error) {
      answer.abort(toOutgoingFailed(error))
    }
  })
}

interface Settle {
  resolve(response: OutgoingResponse): void
  reject(error: Error): void
}

/** The peer closed before the first byte of an answer: the one failure that is tried again at once. */
export class ClosedBeforeAnswer extends OutgoingFailed {}

function createAnswer(request: ExchangeRequest, settle: Settle) {
  let controller: Dispatcher.DispatchController | undefined
  let isOver = false
  /** Why, when it was not the answer that ended it. */
  let fault: Error | undefined
  let status = 0
  let headers: OutgoingResponse['headers'] = {}
  let chunks: Buffer[] = []
  let bytes = 0

  function abort(error: Error): void {
    if (isOver) return
    isOver = true
    fault = error
    chunks = []
    controller?.abort(error)
    settle.reject(error)
  }

  const handler: Dispatcher.DispatchHandler = {
    onRequestStart(started) {
      controller = started
      // It may have waited for a connection longer than its deadline: then not a byte is sent.
      if (fault) started.abort(fault)
    },
    onResponseStart(_controller, statusCode, received) {
      if (statusCode < 200) return
      status = statusCode
      headers = received as OutgoingResponse['headers']
      const encoding = received['content-encoding']
      // A small compressed body may be a huge one: identity was asked for, anything else is refused unread.
      if (encoding !== undefined && String(encoding).trim().toLowerCase() !== 'identity') {
        abort(new OutgoingFailed('protocol', { detail: 'the answer has a content-encoding' }))
      } else if (Number(received['content-length']) > request.maxBytes) {
        abort(tooLarge(request.maxBytes))
      }
    },
    onResponseData(_controller, chunk) {
      bytes += chunk.length
      if (bytes > request.maxBytes) abort(tooLarge(request.maxBytes))
      else chunks.push(chunk)
    },
    onResponseEnd() {
      if (isOver) return
      isOver = true
      const body = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)
      settle.resolve({ status, headers, body })
    },
    onResponseError(_controller, error) {
      if (status === 0 && isReset(error))
        abort(new ClosedBeforeAnswer('connect', { cause: error, detail: error.message }))
      else abort(toOutgoingFailed(error))
    },
  }
  return { handler, abort }
}

function tooLarge(maxBytes: number): OutgoingFailed {
  return new OutgoingFailed('too_large', { detail: `the answer is over ${maxBytes} bytes` })
}
