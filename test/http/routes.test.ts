import assert from 'node:assert/strict'
import type { IRoute, Router } from 'express'
import { createManagementApp } from '../../src/http/management.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createMetrics } from '../../src/kernel/metrics.js'
import { apiOperations } from '../support/api-operations.js'
import { createStubHub } from '../support/stub-hub.js'

interface Layer {
  readonly rawPath: string | string[]
  readonly route?: IRoute & { path: string | string[]; methods: Record<string, boolean> }
  readonly handle: Partial<Router>
}

/** Every route below a router, as `GET /v1/receivers/{id}`. What only refuses methods (`all`) is none. */
function routesOf(router: Partial<Router>, prefix = ''): string[] {
  return (router.stack as unknown as Layer[]).flatMap((layer) => {
    if (!layer.route) {
      if (!layer.handle.stack) return []
      return [layer.rawPath]
        .flat()
        .flatMap((path) => routesOf(layer.handle, prefix + path.replace(/\/$/, '')))
    }
    const methods = Object.keys(layer.route.methods).filter((method) => method !== '_all')
    return [layer.route.path]
      .flat()
      .flatMap((path) => methods.map((method) => `${method.toUpperCase()} ${toTemplate(prefix + path)}`))
  })
}

const snakeCase = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
const toTemplate = (path: string) =>
  path.replace(/:(\w+)/g, (_, name: string) => `{${snakeCase(name)}}`).replace(/(?<=.)\/$/, '')

const described = (issuer: string) =>
  apiOperations(issuer).map(({ method, path }) => `${method.toUpperCase()} ${path}`)

async function mounted(issuer: string): Promise<string[]> {
  const app = await createStubHub(issuer)
  const management = createManagementApp({
    readiness: () => assert.fail(),
    metrics: createMetrics(),
    logger: silentLogger,
  })
  return [...routesOf(app.router), ...routesOf(management.router)]
}

/** Served ahead of express. */
const INGEST = '/ingest/{transmitter_id}'

describe('the OpenAPI document and the routes', () => {
  it('are the same, both ways', async () => {
    const issuer = 'https://hub.example'
    const found = new Set([...(await mounted(issuer)), `POST ${INGEST}`])
    assert.deepEqual([...found].sort(), described(issuer).sort())
    assert.ok(found.size > 50)
  })

  it('agree about an issuer with a path, whose endpoints answer without it too', async () => {
    const issuer = 'https://hub.example/t1'
    const found = new Set([...(await mounted(issuer)), `POST /t1${INGEST}`])
    const told = described(issuer)
    assert.deepEqual(
      told.filter((route) => !found.has(route)),
      [],
    )
    const atRoot = new Set(told.map((route) => route.replace(' /t1/', ' /')))
    assert.deepEqual(
      [...found].filter((route) => !told.includes(route) && !atRoot.has(route)),
      [],
    )
  })
})
