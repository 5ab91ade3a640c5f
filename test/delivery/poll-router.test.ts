import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, request as httpRequest, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import request from 'supertest'
import type { Compatibility } from '../../src/auth/compatibility.js'
import { pollRouter } from '../../src/delivery/poll-router.js'
import type { PollCall, PollRequest } from '../../src/delivery/poll-service.js'
import { createApp } from '../../src/http/app.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { waitUntil } from '../support/wait.js'

const STREAM = '00000000-0000-4000-8000-000000000001'

interface Asked {
  readonly receiverId: string
  readonly streamId: string
  readonly request: PollRequest
  readonly call: PollCall
}

describe('poll endpoint (RFC 8936 §2.4)', () => {
  let server: Server
  let asked: Asked[]
  let compatibility: Compatibility
  let accesses: number
  /** Answers at once unless it is set. */
  let hold: Promise<unknown> | undefined

  before(async () => {
    const app = createApp({
      logger: silentLogger,
      mount: (shell) =>
        void shell.use(
          '/ssf/poll',
          pollRouter({
            polls: {
              async poll(receiverId, streamId, pollRequest, call) {
                asked.push({ receiverId, streamId, request: pollRequest, call })
                await hold
                return { sets: { j: 'a.b.c' }, moreAvailable: true }
              },
            },
            authorize(_req, res, next) {
              res.locals.receiver = { receiverId: 'r', compatibility }
              next()
            },
            checkAccess: async () => {
              accesses += 1
            },
          }),
        ),
    })
    server = createServer(app).listen(0, '127.0.0.1')
    await once(server, 'listening')
  })
  after(() => server.close())
  beforeEach(() => {
    asked = []
    compatibility = []
    accesses = 0
    hold = undefined
  })
  const post = (path = STREAM) => request(server).post(`/ssf/poll/${path}`)

  it('passes on who asks for what of which stream, and how to ask again who it is', async () => {
    const body = { maxEvents: 3, ack: ['x'], setErrs: { y: { err: 'invalid_key' } }, returnImmediately: true }
    const answer = await post().send({ ...body, later: 'ignored' })
    assert.equal(answer.status, 200)
    assert.deepEqual(answer.body, { sets: { j: 'a.b.c' }, moreAvailable: true })
    assert.equal(answer.headers['cache-control'], 'no-store')
    const [poll] = asked
    assert.deepEqual([poll?.receiverId, poll?.streamId], ['r', STREAM])
    assert.deepEqual(poll?.request, { ...body, later: 'ignored' })
    await poll?.call.checkAccess()
    assert.equal(accesses, 1)
  })

  it('takes a request without a body for one that asks for all', async () => {
    assert.equal((await post()).status, 200)
    assert.deepEqual(asked[0]?.request, {})
  })

  it('leaves a body that is no object to the schema, whatever the receiver’s client is like', async () => {
    compatibility = ['accept_max_events']
    for (const body of ['[]', '[{"max_events":1}]']) {
      const answer = await post().set('Content-Type', 'application/json').send(body)
      assert.equal(answer.status, 400, body)
    }
    await post().send({ max_events: 2, ack: [] })
    assert.deepEqual(asked[0]?.request, { maxEvents: 2, ack: [] })
  })

  it('says that there is no such poll stream where the id is none', async () => {
    const answer = await post('x')
    assert.equal(answer.status, 404)
    assert.match(answer.body.message, /poll stream/)
    assert.equal(asked.length, 0)
  })

  it('answers 405 with Allow to any other method', async () => {
    for (const method of ['get', 'put', 'patch', 'delete'] as const) {
      const answer = await request(server)[method](`/ssf/poll/${STREAM}`)
      assert.deepEqual([answer.status, answer.headers.allow], [405, 'POST'], method)
    }
  })

  it('gives the poll up when its receiver hangs up', async () => {
    let release: (() => void) | undefined
    hold = new Promise<void>((resolve) => {
      release = resolve
    })
    const { port } = server.address() as AddressInfo
    const held = httpRequest({ port, path: `/ssf/poll/${STREAM}`, method: 'POST' })
    held.on('error', () => {})
    held.end()
    await waitUntil('the poll', () => asked.length === 1)
    assert.equal(asked[0]?.call.aborted.aborted, false)
    held.destroy()
    await waitUntil('word of it', () => asked[0]?.call.aborted.aborted)
    release?.()
  })
})
