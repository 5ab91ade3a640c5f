import { fileURLToPath } from 'node:url'
import { type RequestHandler, Router } from 'express'
import { NotFound } from '../kernel/errors.js'
import type { ApiSection } from './api-description.js'
import type { OpenApiDocument } from './openapi.js'

/** `npm run build` puts Swagger UI here, so that nothing of it is installed with the hub. */
const VIEWER = fileURLToPath(new URL('./viewer/', import.meta.url))
const VIEWER_FILES = ['swagger-ui-bundle.js', 'swagger-ui.css']

/** Nothing from anywhere else, and nothing sent there; icons of the style sheet are data: URLs. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Firebreak API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="viewer"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
`

/** Without `validatorUrl: null` the viewer would ask a validator of its makers about the document. */
const START = `SwaggerUIBundle({
  url: '/v1/openapi.json',
  dom_id: '#viewer',
  deepLinking: true,
  docExpansion: 'list',
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
})
`

/** The OpenAPI document and a page that shows it. Neither holds a secret, so neither asks for a token. */
export function apiDocsRouter(document: OpenApiDocument): Router {
  const text = JSON.stringify(document)
  return Router()
    .get('/v1/openapi.json', (_req, res) => {
      res.set('Cache-Control', 'public, max-age=300').type('application/json').send(text)
    })
    .get('/docs', (_req, res) => {
      res.set({ 'Content-Security-Policy': POLICY, 'Referrer-Policy': 'no-referrer' }).type('html').send(PAGE)
    })
    .get('/docs/:file', sendViewerFile)
}

const sendViewerFile: RequestHandler = (req, res, next) => {
  const { file } = req.params
  if (file === 'start.js') return void res.type('text/javascript').send(START)
  if (typeof file !== 'string' || !VIEWER_FILES.includes(file)) throw new NotFound('There is no such file.')
  res.set('Cache-Control', 'public, max-age=3600')
  res.sendFile(file, { root: VIEWER, cacheControl: false, lastModified: false }, (error?: Error) => {
    if (error) next(error)
  })
}

const html = { type: 'text/html', schema: { type: 'string' } }

/** Told of `apiDocsRouter`. */
export const API_DOCS_API: ApiSection = {
  name: 'API',
  description: 'This description.',
  routes: [
    {
      id: 'getOpenApi',
      method: 'get',
      path: '/v1/openapi.json',
      summary: 'This document',
      access: 'public',
      answers: {
        200: {
          description: 'OpenAPI 3.1.',
          schema: { type: 'object', required: ['openapi', 'paths'], additionalProperties: true },
        },
      },
    },
    {
      id: 'getDocs',
      method: 'get',
      path: '/docs',
      summary: 'This document as a page',
      access: 'public',
      answers: { 200: { description: 'The page.', ...html } },
    },
    {
      id: 'getDocsFile',
      method: 'get',
      path: '/docs/{file}',
      summary: 'What the page loads',
      access: 'public',
      answers: {
        200: { description: 'A script or a style sheet.', type: '*/*', schema: { type: 'string' } },
      },
    },
  ],
}
