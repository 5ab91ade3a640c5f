import { type ApiSection, closed, TEXT } from './api-description.js'

const health = (...states: string[]) =>
  closed({ status: { enum: states }, reasons: { type: 'array', items: TEXT } })

/** Told of `createManagementApp`. */
export const MANAGEMENT_API: ApiSection = {
  name: 'Management',
  description: 'Health and metrics, on a port of their own and without a token.',
  management: true,
  routes: [
    {
      id: 'getLiveness',
      method: 'get',
      path: '/health/live',
      summary: 'Whether a restart would help',
      access: 'public',
      answers: {
        200: { description: 'The process is alive.', schema: health('alive') },
        503: { description: 'Restart it.', schema: health('failing') },
      },
    },
    {
      id: 'getReadiness',
      method: 'get',
      path: '/health/ready',
      summary: 'Whether the hub can take work',
      access: 'public',
      answers: {
        200: { description: 'It can; reasons are warnings.', schema: health('ready') },
        503: { description: 'It cannot; reasons say why.', schema: health('not_ready') },
      },
    },
    {
      id: 'getMetrics',
      method: 'get',
      path: '/metrics',
      summary: 'Metrics in the text format of Prometheus',
      access: 'public',
      answers: { 200: { description: 'All metrics.', type: 'text/plain', schema: { type: 'string' } } },
    },
  ],
}
