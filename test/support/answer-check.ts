import { Ajv2020, type AnySchemaObject, type ValidateFunction } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { describeHub } from '../../src/hub-description.js'

/** An answer as it went out. Header names in lower case. */
export interface SeenAnswer {
  readonly method: string
  /** With its query. */
  readonly url: string
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

interface ResponseObject {
  readonly $ref?: string
  readonly headers?: Readonly<Record<string, unknown>>
  readonly content?: Readonly<Record<string, unknown>>
}

interface Operation {
  readonly responses: Readonly<Record<string, ResponseObject>>
}

const document = describeHub({ issuer: 'http://127.0.0.1:8080' })
const components = document.components as { responses: Record<string, ResponseObject> }
const ajv = new Ajv2020({ strict: true, strictRequired: false, allowUnionTypes: true, validateSchema: false })
addFormats.default(ajv)
// To ajv the whole document is one schema, in which pointers lead to others.
ajv.addVocabulary(Object.keys(document))
ajv.addSchema(document as AnySchemaObject, 'hub')

const ERROR_FORM = ajv.compile({
  type: 'object',
  additionalProperties: false,
  required: ['code', 'message'],
  properties: { code: { type: 'string', pattern: '^ERR_[A-Z_]+$' }, message: { type: 'string' } },
})
/** What a request that no route takes may be answered. */
const REFUSALS = [400, 401, 403, 404, 405, 429, 503]

/** Templates without a parameter first, so that `/v1/audit/verification` is not taken for an id. */
const templates = Object.keys(document.paths)
  .sort((a, b) => a.split('{').length - b.split('{').length)
  .map((template) => ({ template, pattern: patternOf(template) }))

/** These may stand below an issuer's path, or before it. */
function patternOf(template: string): RegExp {
  const path = template.replaceAll('.', '\\.').replace(/\{\w+\}/g, '[^/]+')
  if (template.startsWith('/.well-known/')) return new RegExp(`^${path}(/[^/]*)*$`)
  const before = /^\/(ssf|oauth|ingest)\//.test(template) ? '(/[^/]+)*' : ''
  return new RegExp(`^${before}${path}/?$`)
}

const HUB_PATHS =
  /^(\/[^/]+)?\/(v1|ssf|oauth|ingest|health|\.well-known\/(ssf|oauth)[^/]*)(\/|$)|^\/(docs|metrics)(\/|$)/

/** Stand-ins for a hub in tests of its clients, and Node itself where it answers for a server, send neither. */
const isByHub = ({ headers }: SeenAnswer, path: string): boolean =>
  headers['x-request-id'] !== undefined ||
  (path.includes('/ingest/') && headers['cache-control'] === 'no-store')

/** What in an answer is not as the hub's OpenAPI document says; undefined when all is, or it is none of the hub's. */
export function faultOf(answer: SeenAnswer): string | undefined {
  const path = answer.url.replace(/[?#].*$/, '')
  if (!isByHub(answer, path)) return undefined
  const found = templates.find(({ pattern }) => pattern.test(path))
  // Tests of the shell have routes of their own.
  if (!found && !HUB_PATHS.test(path)) return undefined
  const problem = problemOf(answer, found?.template)
  return (
    problem && `${answer.method} ${path} → ${answer.status}: ${problem}\n    ${answer.body.slice(0, 600)}`
  )
}

function problemOf(answer: SeenAnswer, template: string | undefined): string | undefined {
  const method = answer.method === 'HEAD' ? 'get' : answer.method.toLowerCase()
  const operation = template === undefined ? undefined : document.paths[template]?.[method]
  if (template === undefined || !operation) {
    if (!REFUSALS.includes(answer.status)) return 'no such path and method is documented'
    return answer.method === 'HEAD' ? undefined : wrong(ERROR_FORM, parsed(answer.body))
  }
  const pointer = ['paths', template, method, 'responses', String(answer.status)]
  const given = (operation as Operation).responses[answer.status]
  // Of another issuer's path.
  if (!given && answer.status === 404 && !template.startsWith('/v1/')) {
    return wrong(ERROR_FORM, parsed(answer.body))
  }
  if (!given) return 'this status is not documented'
  const shared = given.$ref?.split('/').at(-1)
  const response = shared === undefined ? given : components.responses[shared]
  if (!response) throw new Error(`${given.$ref} leads nowhere`)
  const missing = Object.keys(response.headers ?? {}).filter((name) => !answer.headers[name.toLowerCase()])
  if (missing.length > 0) return `it lacks the header ${missing.join(', ')}`
  if (answer.method === 'HEAD') return undefined
  return bodyProblem(answer, response, shared === undefined ? pointer : ['components', 'responses', shared])
}

function bodyProblem(answer: SeenAnswer, { content }: ResponseObject, pointer: readonly string[]) {
  if (!content) return answer.body === '' ? undefined : 'it is documented to have no body'
  const type = answer.headers['content-type']?.split(';')[0]?.trim() ?? 'none'
  const documented = [type, '*/*'].find((name) => name in content)
  if (documented === undefined) return `its type ${type} is not ${Object.keys(content).join(' or ')}`
  const body = documented === 'application/json' ? parsed(answer.body) : answer.body
  return wrong(validatorOf([...pointer, 'content', documented, 'schema']), body)
}

const validators = new Map<string, ValidateFunction>()

function validatorOf(pointer: readonly string[]): ValidateFunction {
  const escaped = pointer.map((part) => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1')))
  const ref = `hub#/${escaped.join('/')}`
  const validator = validators.get(ref) ?? ajv.compile({ $ref: ref })
  validators.set(ref, validator)
  return validator
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function wrong(validate: ValidateFunction, value: unknown): string | undefined {
  if (value === undefined) return 'its body is not JSON'
  if (validate(value)) return undefined
  return (
    ajv.errorsText(validate.errors, { dataVar: 'body' }) +
    JSON.stringify(validate.errors?.map((e) => e.params))
  )
}
