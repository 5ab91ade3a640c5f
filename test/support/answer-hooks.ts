import { subscribe } from 'node:diagnostics_channel'
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { AsyncFunc, Context, RootHookObject, Test } from 'mocha'
import type { SeenAnswer } from './answer-check.js'

/**
 * For `mocha --require`: every answer of a server in this process is compared with the hub's OpenAPI document, and a
 * test during which one went out that is not as documented fails. Answers of other servers pass by their paths.
 */
export const mochaHooks: RootHookObject = {
  // Not an afterEach that throws: mocha would leave out the rest of the suite.
  beforeEach(this: Context) {
    const test = this.currentTest as Test
    const { fn } = test
    if (!fn || fn.length > 0 || checked.has(fn)) return
    test.fn = async function (this: Context) {
      await (fn as AsyncFunc).call(this)
      await checkAnswers()
    }
    checked.add(test.fn)
  },
  afterAll: checkAnswers,
}

const answers: SeenAnswer[] = []
/** A mutation run gives the same test again and again. */
const checked = new WeakSet<object>()

async function checkAnswers(): Promise<void> {
  if (answers.length === 0) return
  // Not before it is needed: most tests serve nothing.
  const { faultOf } = await import('./answer-check.js')
  const faults = new Set(answers.splice(0).flatMap((answer) => faultOf(answer) ?? []))
  if (faults.size > 0) throw new Error(`not as the OpenAPI document says:\n  ${[...faults].join('\n  ')}`)
}

subscribe('http.server.request.start', (message) => {
  const { request, response } = message as { request: IncomingMessage; response: ServerResponse }
  record(request, response)
})

/** Express rewrites `url` while it routes, and an answer's headers may be given at its end only. */
function record({ method = '', url = '' }: IncomingMessage, res: ServerResponse): void {
  const { writeHead, write, end } = res
  const chunks: Buffer[] = []
  const headers: Record<string, string> = {}
  const keep = (chunk: unknown, encoding: unknown): void => {
    if (typeof chunk === 'string') chunks.push(Buffer.from(chunk, encoding as BufferEncoding | undefined))
    else if (chunk instanceof Uint8Array) chunks.push(Buffer.from(chunk))
  }
  const wrapped = {
    writeHead(...args: unknown[]) {
      const given = args.find((arg): arg is OutgoingHttpHeaders => typeof arg === 'object' && arg !== null)
      for (const [name, value] of [...Object.entries(res.getHeaders()), ...entriesOf(given)]) {
        headers[name.toLowerCase()] = String(value)
      }
      return Reflect.apply(writeHead, res, args)
    },
    write(...args: unknown[]) {
      keep(args[0], typeof args[1] === 'string' ? args[1] : undefined)
      return Reflect.apply(write, res, args)
    },
    end(...args: unknown[]) {
      keep(args[0], typeof args[1] === 'string' ? args[1] : undefined)
      const result: unknown = Reflect.apply(end, res, args)
      answers.push({ method, url, status: res.statusCode, headers, body: Buffer.concat(chunks).toString() })
      return result
    },
  }
  Object.assign(res, wrapped)
}

/** Raw headers, name and value in turn, are how the door before two hubs passes theirs on (`alternating-door.ts`). */
function entriesOf(given: OutgoingHttpHeaders | readonly string[] = {}): [string, unknown][] {
  if (!Array.isArray(given)) return Object.entries(given)
  const raw: readonly unknown[] = given
  return raw.flatMap((name, at) => (at % 2 === 0 ? [[String(name), raw[at + 1]] as [string, unknown]] : []))
}
