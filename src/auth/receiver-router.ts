import { type Request, type RequestHandler, Router } from 'express'
import { jsonBody } from '../http/body.js'
import { parsePage, toPage } from '../http/page.js'
import { uuidParam } from '../http/params.js'
import { present } from '../kernel/present.js'
import { actorOf, type OperatorAuth, requireOperator } from './callers.js'
import {
  parseNewReceiver,
  parseReceiverChange,
  parseTokenRequest,
  toReceiverBody,
  toTokenBody,
} from './receiver-body.js'
import type { ReceiverService } from './receiver-service.js'

/** `/v1/receivers`: anyone with a role may look, `receivers.manage` may change. */
export function receiverRouter(receivers: ReceiverService, operators: OperatorAuth): Router {
  const router = Router()
  const mayRead = requireOperator(operators, 'read')
  const mayManage = requireOperator(operators, 'receivers.manage')

  router.get('/', mayRead, async (req, res) => {
    const { limit, after } = parsePage(req.query, 1)
    const rows = await receivers.list({ limit: limit + 1, ...present({ afterName: after?.[0] }) })
    res.json(toPage(rows, limit, { keysOf: (row) => [row.name], render: toReceiverBody }))
  })
  router.post('/', mayManage, jsonBody(), async (req, res) => {
    const { receiver, secret } = await receivers.create(parseNewReceiver(req.body), actorOf(res))
    res.status(201).json({ ...toReceiverBody(receiver), ...present({ client_secret: secret }) })
  })
  router.get('/:id', mayRead, async (req, res) => {
    res.json(toReceiverBody(await receivers.get(idOf(req))))
  })
  router.patch('/:id', mayManage, jsonBody(), async (req, res) => {
    res.json(toReceiverBody(await receivers.update(idOf(req), parseReceiverChange(req.body), actorOf(res))))
  })
  router.delete('/:id', mayManage, async (req, res) => {
    await receivers.delete(idOf(req), actorOf(res))
    res.status(204).end()
  })

  const switchTo =
    (enabled: boolean): RequestHandler =>
    async (req, res) => {
      res.json(toReceiverBody(await receivers.setEnabled(idOf(req), enabled, actorOf(res))))
    }
  router.post('/:id/enable', mayManage, switchTo(true))
  router.post('/:id/disable', mayManage, switchTo(false))
  router.post('/:id/rotate', mayManage, async (req, res) => {
    const { receiver, secret } = await receivers.rotate(idOf(req), actorOf(res))
    res.json({ ...toReceiverBody(receiver), client_secret: secret })
  })

  router.get('/:id/tokens', mayRead, async (req, res) => {
    res.json({ items: (await receivers.listTokens(idOf(req))).map(toTokenBody), next: null })
  })
  router.post('/:id/tokens', mayManage, jsonBody('16kb'), async (req, res) => {
    const { token, ...record } = await receivers.issueToken(
      idOf(req),
      parseTokenRequest(req.body),
      actorOf(res),
    )
    res.status(201).json({ ...toTokenBody(record), token })
  })
  router.delete('/:id/tokens/:tokenId', mayManage, async (req, res) => {
    await receivers.revokeToken(idOf(req), uuidParam(req, 'tokenId', 'token'), actorOf(res))
    res.status(204).end()
  })
  return router
}

const idOf = (req: Request): string => uuidParam(req, 'id', 'receiver')
