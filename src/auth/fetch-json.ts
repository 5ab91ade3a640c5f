import { present } from '../kernel/present.js'

/** Asks for a document elsewhere. Rejects when there is no answer. */
export type FetchJson = (request: {
  url: string
  /** Sent as application/x-www-form-urlencoded by POST; absent: GET. */
  form?: Record<string, string>
  authorization?: string
}) => Promise<{ status: number; body: unknown }>

const DEADLINE_MS = 3_000

/** @param request sends and reads the whole answer. Rejects when there is none */
export function createFetchJson(
  request: (asked: {
    url: string
    method: 'GET' | 'POST'
    headers: Record<string, string>
    body?: string
    deadlineMs: number
  }) => Promise<{ status: number; body: Buffer }>,
): FetchJson {
  return async ({ url, form, authorization }) => {
    const { status, body } = await request({
      url,
      method: form ? 'POST' : 'GET',
      headers: {
        accept: 'application/json',
        ...present({ 'content-type': form && 'application/x-www-form-urlencoded', authorization }),
      },
      ...present({ body: form && new URLSearchParams(form).toString() }),
      deadlineMs: DEADLINE_MS,
    })
    return { status, body: status === 200 ? JSON.parse(body.toString('utf8')) : undefined }
  }
}
