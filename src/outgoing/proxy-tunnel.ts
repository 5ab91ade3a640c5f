import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { Socket } from 'node:net'
import { MIN_TLS_VERSION } from './client-tls.js'
import { OutgoingFailed } from './outgoing-errors.js'

export interface ProxyAddress {
  /** http or https, with user and password where the proxy asks for them. */
  readonly url: string
  /** PEM, for https: these authorities alone are believed. Undefined: the system's. */
  readonly ca?: string
}

/** What a proxy answers when it is well and could not reach the endpoint: RFC 9110 §15.6.3 to §15.6.5. */
const NOT_REACHED = new Set([502, 503, 504])

/**
 * A connection to `authority` (`address:port`) through the proxy, by CONNECT (RFC 9110 §9.3.6). undici's ProxyAgent asks
 * for the name in the URL and for nothing else, hence this.
 * @throws OutgoingFailed `proxy`, or `connect` when the proxy could not reach it
 */
export function openTunnel(proxy: ProxyAddress, authority: string, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const request = askFor(proxy, authority)
    const timer = setTimeout(
      () => request.destroy(new Error('the proxy did not answer in time')),
      Math.max(0, timeoutMs),
    )
    request
      .once('connect', (response: IncomingMessage, socket: Socket, head: Buffer) => {
        clearTimeout(timer)
        const { statusCode = 0 } = response
        if (statusCode >= 200 && statusCode < 300) {
          if (head.length > 0) socket.unshift(head)
          return resolve(socket)
        }
        socket.on('error', () => {}).destroy()
        const reason = NOT_REACHED.has(statusCode) ? 'connect' : 'proxy'
        reject(new OutgoingFailed(reason, { detail: `the egress proxy answered ${statusCode}` }))
      })
      .once('error', (cause: NodeJS.ErrnoException) => {
        clearTimeout(timer)
        reject(new OutgoingFailed('proxy', { cause, detail: `egress proxy: ${cause.code ?? cause.message}` }))
      })
      .end()
  })
}

function askFor(proxy: ProxyAddress, authority: string): ClientRequest {
  const url = new URL(proxy.url)
  const secure = url.protocol === 'https:'
  const credentials = [url.username, url.password].map(decodeURIComponent).join(':')
  return (secure ? httpsRequest : httpRequest)({
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port || (secure ? 443 : 80),
    method: 'CONNECT',
    path: authority,
    // A connection of its own, and not one of Node's agents, which may read proxies from the environment.
    agent: false,
    maxHeaderSize: 16_384,
    headers: {
      host: authority,
      ...(url.username === ''
        ? {}
        : { 'proxy-authorization': `Basic ${Buffer.from(credentials).toString('base64')}` }),
    },
    ...(secure
      ? { rejectUnauthorized: true, minVersion: MIN_TLS_VERSION, ...(proxy.ca ? { ca: proxy.ca } : {}) }
      : {}),
  })
}
