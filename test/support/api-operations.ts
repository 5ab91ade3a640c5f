import { describeHub } from '../../src/hub-description.js'

type Schema = Readonly<Record<string, unknown>>

/** One operation of the OpenAPI document, as tests that go over all of them need it. */
export interface ApiOperation {
  readonly id: string
  readonly method: 'get' | 'post' | 'put' | 'patch' | 'delete'
  readonly path: string
  /** Of an operator, if one may call. */
  readonly permission: string | undefined
  /** Of a receiver, if one may call. */
  readonly scope: string | undefined
  readonly query: Readonly<Record<string, Schema>>
  /** Undefined when it reads no body. */
  readonly body: Schema | undefined
  readonly bodyRequired: boolean
  /** Every documented error answer: `409 ERR_CONFLICT`. */
  readonly errors: readonly string[]
}

interface OperationObject {
  operationId: string
  security: Record<string, string[]>[]
  parameters?: { name: string; in: string; schema: Schema }[]
  requestBody?: { required: boolean; content: Record<string, { schema: Schema }> }
  responses: Record<string, { $ref?: string }>
}

export function apiOperations(issuer = 'https://hub.example'): ApiOperation[] {
  return Object.entries(describeHub(issuer).paths).flatMap(([path, item]) =>
    Object.entries(item)
      .filter(([method]) => method !== 'servers')
      .map(([method, operation]) =>
        toOperation(path, method as ApiOperation['method'], operation as OperationObject),
      ),
  )
}

function toOperation(path: string, method: ApiOperation['method'], object: OperationObject): ApiOperation {
  const of = (scheme: string) => object.security.find((each) => each[scheme])?.[scheme]?.[0]
  const query = (object.parameters ?? []).filter((parameter) => parameter.in === 'query')
  return {
    id: object.operationId,
    method,
    path,
    permission: of('operator'),
    scope: of('receiver'),
    query: Object.fromEntries(query.map(({ name, schema }) => [name, schema])),
    body: object.requestBody?.content['application/json']?.schema,
    bodyRequired: object.requestBody?.required ?? false,
    errors: Object.values(object.responses).flatMap(({ $ref = '' }) => {
      const [status, ...codes] = $ref.replace('#/components/responses/', '').split('.')
      return codes.map((code) => `${status} ${code}`)
    }),
  }
}
