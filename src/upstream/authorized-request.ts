import type { Outgoing, OutgoingRequest, OutgoingResponse } from '../outgoing/outgoing.js'
import { ask, withoutSecrets } from './json-answer.js'
import type { TokenSource } from './token-source.js'

/** @param what names the call in an error */
export type AuthorizedRequest = (what: string, request: OutgoingRequest) => Promise<OutgoingResponse>

/**
 * Sends with a token; after a 401 once more with a new one (RFC 6750 §3.1).
 * @param secrets what an answer must not repeat, beside the token
 * @throws (from it) UpstreamFailed, UpstreamMistrusted
 */
export function createAuthorizedRequest(
  outgoing: Pick<Outgoing, 'request'>,
  tokens: TokenSource,
  secrets: readonly string[],
): AuthorizedRequest {
  return async (what, request) => {
    const send = async (token: string) => {
      const headers = { ...request.headers, authorization: `Bearer ${token}` }
      return withoutSecrets(await ask(outgoing, what, { ...request, headers }), [token, ...secrets])
    }
    const token = await tokens.get()
    const answer = await send(token)
    if (answer.status !== 401) return answer
    const renewed = await tokens.renew(token)
    return renewed === undefined ? answer : await send(renewed)
  }
}
