import assert from 'node:assert/strict'
import { Validator } from '@seriousme/openapi-schema-validator'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { NEW_OPERATOR } from '../../src/auth/operator-router.js'
import { type ApiRoute, closed, type JsonSchema } from '../../src/http/api-description.js'
import { type OpenApiDocument, openApiDocument } from '../../src/http/openapi.js'
import { describeHub } from '../../src/hub-description.js'
import { filesBelow, readText } from '../support/source-files.js'

interface Operation {
  operationId: string
  summary: string
  requestBody?: { content: Record<string, { schema: JsonSchema }> }
  responses: Record<string, unknown>
}

const document = describeHub({ issuer: 'https://hub.example' })
const components = document.components as Record<'schemas' | 'responses', Record<string, JsonSchema>>
const operations = Object.entries(document.paths).flatMap(([path, item]) =>
  Object.entries(item)
    .filter(([method]) => method !== 'servers')
    .map(([method, operation]) => ({ path, method, operation: operation as Operation })),
)

/** Every object schema that stands in a value, with where it stands; embedded schemas of `schemas/` left out. */
function objectSchemas(value: unknown, place: string): { place: string; schema: JsonSchema }[] {
  if (typeof value !== 'object' || value === null) return []
  const schema = value as JsonSchema
  const inner = Object.entries(schema).flatMap(([key, member]) => objectSchemas(member, `${place}/${key}`))
  return [schema.type].flat().includes('object') ? [{ place, schema }, ...inner] : inner
}

function documentOf(...routes: ApiRoute[]): OpenApiDocument {
  const sections = [{ name: 'Things', description: 'Things.', routes }]
  return openApiDocument({
    title: 'T',
    version: '1',
    description: 'T.',
    sections,
    heldByAll: ['look'],
    schemas: {},
  })
}

const thing = (more: Partial<ApiRoute> = {}): ApiRoute => ({
  id: 'getThing',
  method: 'get',
  path: '/v1/things/{id}',
  summary: 'A thing',
  access: { permission: 'read' },
  answers: { 200: { description: 'The thing.', schema: closed({ name: { type: 'string' } }) } },
  ...more,
})

describe('the OpenAPI document', () => {
  it('is valid OpenAPI 3.1', async () => {
    const validator = new Validator()
    const result = await validator.validate(structuredClone(document) as Record<string, unknown>)
    assert.equal(result.valid, true, JSON.stringify(result.errors))
    assert.equal(validator.version, '3.1')
    const external = describeHub({ issuer: 'https://hub.example', oauthIssuer: 'https://login.example' })
    const alike = await new Validator().validate(structuredClone(external) as Record<string, unknown>)
    assert.equal(alike.valid, true, JSON.stringify(alike.errors))
    assert.ok(!JSON.stringify(external).includes('/oauth/token'))
    const broken = await new Validator().validate({ ...structuredClone(document), info: {} })
    assert.equal(broken.valid, false)
  })

  it('holds only JSON Schemas that compile in strict mode', () => {
    const ajv = new Ajv2020({ strict: true, strictRequired: false, allowUnionTypes: true })
    addFormats.default(ajv)
    ajv.addVocabulary(Object.keys(document))
    ajv.addSchema(document, 'hub')
    for (const name of Object.keys(components.schemas))
      ajv.compile({ $ref: `hub#/components/schemas/${name}` })
    for (const { operation } of operations) {
      for (const { schema } of Object.values(operation.requestBody?.content ?? {})) {
        if (schema.$ref === undefined) ajv.compile(schema)
      }
    }
  })

  it('embeds the schemas of SETs as they are', () => {
    for (const file of filesBelow('schemas', '.json')) {
      const name = file.replace(/^schemas\/|\.json$/g, '')
      assert.deepEqual(components.schemas[name], JSON.parse(readText(file)), name)
    }
  })

  it('has the very schema that a request is checked with', () => {
    const create = document.paths['/v1/operators']?.post as Operation
    assert.deepEqual(create.requestBody?.content['application/json']?.schema, NEW_OPERATOR)
  })

  it('says of every object in an answer whether it is closed', () => {
    const named = new Set(
      filesBelow('schemas', '.json').map((file) => file.replace(/^schemas\/|\.json$/g, '')),
    )
    const inAnswers = [
      ...operations.flatMap(({ path, method, operation }) =>
        objectSchemas(operation.responses, `${method} ${path}`),
      ),
      ...Object.entries(components.schemas)
        .filter(([name]) => !named.has(name))
        .flatMap(([name, schema]) => objectSchemas(schema, name)),
      ...objectSchemas(components.responses, 'responses'),
    ]
    assert.ok(inAnswers.length > 50)
    const open = inAnswers.filter(({ schema }) => schema.additionalProperties === undefined)
    assert.deepEqual(
      open.map(({ place }) => place),
      [],
    )
  })

  it('names each operation once and tells each error code that docs/errors.md lists', () => {
    const ids = operations.map(({ operation }) => operation.operationId)
    assert.deepEqual(
      ids.filter((id, index) => ids.indexOf(id) !== index),
      [],
    )
    const [, fromHub = ''] = readText('docs/errors.md').split(/^## /m)
    const listed = [...fromHub.matchAll(/^\| `(ERR_\w+)`/gm)].map((match) => match[1] as string)
    const told = new Set(JSON.stringify(document).match(/ERR_[A-Z_]+/g))
    // Shown to senders in the form of RFC 8935, without their codes.
    for (const code of ['ERR_SET_REJECTED', 'ERR_SENDER_NOT_AUTHENTICATED']) told.add(code)
    assert.deepEqual([...told].sort(), listed.sort())
  })

  it('has every call that docs/api.md lists, and none under /v1 beside them', () => {
    const listed = [...readText('docs/api.md').matchAll(/`(GET|POST|PUT|PATCH|DELETE) (\/[^`? ]+)`/g)].map(
      ([, method, path]) => `${method} ${path}`,
    )
    const described = operations.map(({ path, method }) => `${method.toUpperCase()} ${path}`)
    assert.deepEqual(
      listed.filter((call) => !described.includes(call)),
      [],
    )
    assert.deepEqual(
      described.filter((call) => call.includes(' /v1/') && !listed.includes(call)),
      [],
    )
  })

  it('gives a route the errors that follow from its access, its path and its body', () => {
    const responsesOf = (route: ApiRoute) => {
      const item = documentOf(route).paths[route.path] as Record<string, Operation>
      return item[route.method]?.responses ?? {}
    }
    assert.deepEqual(Object.keys(responsesOf(thing())), [
      '200',
      '400',
      '401',
      '403',
      '404',
      '429',
      '500',
      '503',
    ])
    assert.deepEqual(Object.keys(responsesOf(thing({ access: 'public', path: '/v1/things' }))), [
      '200',
      '500',
      '503',
    ])
    assert.ok(!('403' in responsesOf(thing({ access: { permission: 'look' } }))))
    assert.ok('403' in responsesOf(thing({ access: { permission: 'look', scope: 'ssf.read' } })))
    assert.ok('413' in responsesOf(thing({ method: 'post', body: closed({}) })))
    assert.deepEqual(responsesOf(thing({ errors: { 409: ['ERR_CONFLICT'] } }))[409], {
      $ref: '#/components/responses/409.ERR_CONFLICT',
    })
  })

  it('tells a titled schema once, and takes no two routes or schemas of one name', () => {
    const titled = closed({ name: { type: 'string' } }, { title: 'Thing' })
    const answers = { 200: { description: 'It.', schema: closed({ one: titled, other: titled }) } }
    const made = documentOf(thing({ answers }))
    assert.deepEqual((made.components as typeof components).schemas, { Thing: titled })
    const twin = closed({}, { title: 'Thing' })
    const clash = { 200: { description: 'It.', schema: closed({ one: titled, other: twin }) } }
    assert.throws(() => documentOf(thing({ answers: clash })), /two schemas have the title Thing/)
    assert.throws(() => documentOf(thing(), thing()), /described twice/)
  })
})
