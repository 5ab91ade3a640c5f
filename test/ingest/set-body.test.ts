import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type ClientRequest, createServer, type IncomingMessage, request, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SenderTooSlow } from '../../src/ingest/ingest-answers.js'
import { readSetBody, SenderGone } from '../../src/ingest/set-body.js'
import { Unavailable } from '../../src/kernel/errors.js'
import { MAX_SET_BYTES, SetRejected } from '../../src/secevent/parse-set.js'
import { waitUntil } from '../support/wait.js'
import { manualClock } from './ingest-fixture.js'

/** Read and dropped, so that the sender sees its 413; more is cut. */
const MAX_DISCARDED_BYTES = 2_097_152

describe('ingest: the body of a push', () => {
  let server: Server
  let sent: ClientRequest
  let held: number
  let room: number
  let cut: () => void
  let reading: Promise<IncomingMessage>

  before(async () => {
    server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  })
  after(() => {
    server.closeAllConnections()
    server.close()
  })
  beforeEach(() => {
    room = Number.POSITIVE_INFINITY
    cut = () => assert.fail('nothing to cut yet')
  })
  afterEach(() => void sent.destroy())

  /** Begins a push; its body is the test's to write. @returns what the hub makes of it */
  async function begin(headers: Record<string, string | number> = {}) {
    reading = once(server, 'request').then(([req]) => req as IncomingMessage)
    const { port } = server.address() as AddressInfo
    sent = request({ port, method: 'POST', headers, agent: false })
    sent.on('error', () => {})
    sent.flushHeaders()
    const req = await reading
    held = 0
    const body = readSetBody(req, {
      hold(bytes) {
        if (held + bytes > room) return false
        held += bytes
        return true
      },
      whenCut(listener) {
        cut = listener
      },
      clock: manualClock(),
      timeMs: 60_000,
    })
    // Looked at later; until then a rejection is nobody's failure.
    body.catch(() => {})
    return { req, body }
  }
  const tooLarge = (error: unknown) => error instanceof SetRejected && error.status === 413

  it('is taken whole up to its limit, in one piece or many', async () => {
    const text = 'a'.repeat(MAX_SET_BYTES - 1)
    for (const pieces of [[`${text}b`], [text, 'b'], ['x'], []]) {
      const { body } = await begin()
      for (const piece of pieces) sent.write(piece)
      sent.end()
      assert.equal((await body).toString(), pieces.join(''))
      sent.destroy()
    }
  })

  it('is refused with one byte more, and takes no more memory than the limit', async () => {
    const { req, body } = await begin()
    sent.end('a'.repeat(MAX_SET_BYTES + 1))
    await assert.rejects(body, tooLarge)
    assert.ok(held <= MAX_SET_BYTES, String(held))
    assert.ok(req.complete)
  })

  it('is read to its end before it is refused, up to a bound', async () => {
    const isComplete: boolean[] = []
    const announced = await begin({ 'content-length': MAX_DISCARDED_BYTES })
    announced.body.catch(() => isComplete.push(announced.req.complete))
    sent.end('a'.repeat(MAX_DISCARDED_BYTES))
    await assert.rejects(announced.body, tooLarge)
    sent.destroy()
    const { req, body } = await begin({ 'transfer-encoding': 'chunked' })
    body.catch(() => isComplete.push(req.complete))
    let come = 0
    req.on('data', (chunk: Buffer) => {
      come += chunk.length
    })
    sent.write('a'.repeat(MAX_DISCARDED_BYTES))
    await waitUntil('all bytes', () => come === MAX_DISCARDED_BYTES)
    assert.equal(isComplete.length, 1, 'refused before its end')
    sent.end()
    await assert.rejects(body, tooLarge)
    assert.deepEqual(isComplete, [true, true])
    assert.ok(held <= MAX_SET_BYTES, String(held))
  })

  it('is not waited for beyond that bound', async () => {
    const { body } = await begin({ 'content-length': MAX_DISCARDED_BYTES + 1 })
    await assert.rejects(body, tooLarge)
    sent.destroy()
    const without = await begin()
    sent.write('a'.repeat(MAX_DISCARDED_BYTES + 1))
    await assert.rejects(without.body, tooLarge)
    assert.ok(!without.req.complete)
  })

  it('comes without encoding, or with none by name', async () => {
    for (const encoding of ['identity', ' Identity ']) {
      const { body } = await begin({ 'content-encoding': encoding })
      sent.end('x')
      assert.equal((await body).toString(), 'x')
      sent.destroy()
    }
    for (const encoding of ['gzip', 'identity, gzip', 'deflate']) {
      const { body } = await begin({ 'content-encoding': encoding })
      await assert.rejects(body, (error: unknown) => error instanceof SetRejected && error.status === 400)
      sent.destroy()
    }
  })

  it('is told to come back when there is no room for it', async () => {
    room = 10
    const { body } = await begin()
    sent.end('a'.repeat(11))
    await assert.rejects(body, (error: unknown) => error instanceof Unavailable && error.retryAfterS === 1)
  })

  it('ends with its sender, and when its place is needed', async () => {
    const gone = await begin({ 'content-length': 10 })
    sent.write('a')
    await waitUntil('the first byte', () => held > 0)
    sent.destroy()
    await assert.rejects(gone.body, SenderGone)
    const slow = await begin({ 'content-length': 10 })
    cut()
    await assert.rejects(slow.body, SenderTooSlow)
  })
})
