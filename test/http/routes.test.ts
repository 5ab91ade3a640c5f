import assert from 'node:assert/strict'
import type { IRoute, Router } from 'express'
import { createManagementApp } from '../../src/http/management.js'
import type { HubBase } from '../../src/hub-base.js'
import { describeHub } from '../../src/hub-description.js'
import { createRoutes, type RouteParts } from '../../src/hub-routes.js'
import { createClock } from '../../src/kernel/clock.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createMetrics } from '../../src/kernel/metrics.js'

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

function routesIn(issuer: string): string[] {
  return Object.entries(describeHub(issuer).paths).flatMap(([path, item]) =>
    Object.keys(item)
      .filter((method) => method !== 'servers')
      .map((method) => `${method.toUpperCase()} ${path}`),
  )
}

/** Whatever is asked of it while routes are mounted; nothing of it may be called then. */
function untouched<T>(known: object = {}): T {
  const stub: unknown = new Proxy(
    Object.assign(() => {}, known),
    {
      get: (target, name) => (name in target ? target[name as keyof typeof target] : untouched()),
      apply() {
        throw new Error('called while routes are mounted')
      },
    },
  )
  return stub as T
}

async function mounted(issuer: string): Promise<string[]> {
  const base = {
    issuer,
    clock: createClock(),
    logger: silentLogger,
    config: { roles: ['api'], trustedProxies: [] },
  }
  const settings = { issuer, defaultSubjects: 'ALL' }
  const app = await createRoutes(
    untouched<HubBase>(base),
    untouched<RouteParts>({ services: untouched({ settings }) }),
  )
  const management = createManagementApp({
    readiness: () => assert.fail(),
    metrics: createMetrics(),
    logger: silentLogger,
  })
  return [...routesOf(app.router), ...routesOf(management.router)]
}

const INGEST = 'POST /ingest/{transmitter_id}'

describe('the OpenAPI document and the routes', () => {
  it('are the same, both ways', async () => {
    const found = [...(await mounted('https://hub.example')), INGEST]
    assert.deepEqual([...new Set(found)].sort(), routesIn('https://hub.example').sort())
    assert.ok(found.length > 50)
  })

  it('agree about an issuer with a path, whose endpoints answer without it too', async () => {
    const issuer = 'https://hub.example/t1'
    const below = new Set([...(await mounted(issuer)), 'POST /t1/ingest/{transmitter_id}'])
    const documented = routesIn(issuer)
    assert.deepEqual(
      documented.filter((route) => !below.has(route)),
      [],
    )
    const atRoot = new Set(documented.map((route) => route.replace(' /t1/', ' /')))
    assert.deepEqual(
      [...below].filter((route) => !documented.includes(route) && !atRoot.has(route)),
      [],
    )
  })
})
