import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { isIP, type Socket } from 'node:net'
import type { SecureContext } from 'node:tls'
import { toSecureContext } from './client-tls.js'
import { OutgoingFailed } from './outgoing-errors.js'

export interface ProxyAddress {
  /** http or https, with user and password where the proxy asks for them. */
  readonly url: string
  /** PEM, for https: these authorities alone are believed. Undefined: the system's. */
  readonly ca?: string
}

/** It said nothing in its time to a CONNECT that it could read. */
export class NoAnswerOfProxy extends OutgoingFailed {}

/** The time is counted in steps: a process that is held up itself loses one of them, and finds the answer in the socket. */
const STEPS = 5

/** `performance.now()` of the last answer to any CONNECT, whatever it said. */
const answeredAtMs = new WeakMap<ProxyAddress, number>()

/** Then it works, and what it is silent about is the endpoint. */
export function hasAnsweredSince(proxy: ProxyAddress, sinceMs: number): boolean {
  return (answeredAtMs.get(proxy) ?? Number.NEGATIVE_INFINITY) >= sinceMs
}

/** What a proxy answers when it is well and could not reach the endpoint: RFC 9110 §15.6.3 to §15.6.5. */
const NOT_REACHED = new Set([502, 503, 504])

/**
 * A connection to `authority` (`address:port`) through the proxy, by CONNECT (RFC 9110 §9.3.6). undici's ProxyAgent asks
 * for the name in the URL and for nothing else, hence this.
 * @param timeoutMs for connecting to the proxy, TLS with it, and the head of its answer together
 * @throws NoAnswerOfProxy; else OutgoingFailed `proxy`, or `connect` when the proxy could not reach it
 */
export function openTunnel(proxy: ProxyAddress, authority: string, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const request = askFor(proxy, authority)
    let isConnected = false
    const giveUp = () => {
      const detail = 'the egress proxy did not answer CONNECT in time'
      if (isConnected) request.destroy(new NoAnswerOfProxy('proxy', { detail }))
      else request.destroy(new Error('no connection in time'))
    }
    let steps = 0
    const timer = setInterval(() => {
      steps += 1
      if (steps === STEPS) giveUp()
    }, Math.max(0, timeoutMs) / STEPS)
    request
      .once('socket', (socket: Socket) => {
        socket.once('encrypted' in socket ? 'secureConnect' : 'connect', () => {
          isConnected = true
        })
      })
      .once('connect', (response: IncomingMessage, socket: Socket, head: Buffer) => {
        clearInterval(timer)
        answeredAtMs.set(proxy, performance.now())
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
        clearInterval(timer)
        if (cause instanceof NoAnswerOfProxy) return reject(cause)
        reject(new OutgoingFailed('proxy', { cause, detail: `egress proxy: ${cause.code ?? cause.message}` }))
      })
      .end()
  })
}

const secureContexts = new WeakMap<ProxyAddress, SecureContext>()

/** That in which its authorities were found to be of use at the start. */
function secureContextOf(proxy: ProxyAddress): SecureContext {
  let context = secureContexts.get(proxy)
  if (!context) {
    context = toSecureContext({ ca: proxy.ca })
    secureContexts.set(proxy, context)
  }
  return context
}

function askFor(proxy: ProxyAddress, authority: string): ClientRequest {
  const url = new URL(proxy.url)
  const secure = url.protocol === 'https:'
  const credentials = [url.username, url.password].map(decodeURIComponent).join(':')
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  return (secure ? httpsRequest : httpRequest)({
    host,
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
      ? {
          rejectUnauthorized: true,
          secureContext: secureContextOf(proxy),
          // Else Node takes it from the Host header, and whoever has a certificate of the endpoint is taken for the proxy.
          servername: isIP(host) === 0 ? host : '',
        }
      : {}),
  })
}
