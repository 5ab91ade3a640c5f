import type { Call, Refusal } from './refusal.js'

/** Stream by what its receiver's `default_subjects` are. */
export type LimitedStreams = Readonly<Record<'ALL' | 'NONE', string>>

/** An answer that comes only once a limit is reached, which `first` does. */
export interface LimitRefusal extends Refusal {
  readonly of: keyof LimitedStreams
  readonly first?: Call
}

/** Of a hub with one stream for each receiver, one subject for each stream, and a verification every 30 s. */
export function limitRefusals(streams: LimitedStreams): LimitRefusal[] {
  const subject = (kind: 'add' | 'remove', stream_id: string, name: string): Call => ({
    method: 'POST',
    path: `/ssf/subjects/${kind}`,
    body: { stream_id, subject: { format: 'email', email: `${name}@example.com` } },
  })
  const tooMany = {
    status: 429,
    code: 'ERR_SUBJECT_LIMIT',
    retryAfterS: [60, 60],
    names: /subjects/,
  } as const
  const verify: Call = { method: 'POST', path: '/ssf/verify', body: { stream_id: streams.NONE } }
  return [
    {
      title: 'a stream more than a receiver may hold',
      of: 'NONE',
      method: 'POST',
      path: '/ssf/streams',
      body: {},
      status: 403,
      code: 'ERR_STREAM_LIMIT',
      names: /hold 1 streams/,
    },
    {
      ...verify,
      title: 'a verification within the interval (T-76)',
      of: 'NONE',
      first: verify,
      status: 429,
      code: 'ERR_VERIFICATION_TOO_SOON',
      retryAfterS: [1, 30],
      names: /every 30 s/,
    },
    {
      ...tooMany,
      ...subject('add', streams.NONE, 'bob'),
      title: 'a subject too many',
      of: 'NONE',
      first: subject('add', streams.NONE, 'ann'),
    },
    {
      ...tooMany,
      ...subject('remove', streams.ALL, 'bob'),
      title: 'an exclusion too many',
      of: 'ALL',
      first: subject('remove', streams.ALL, 'ann'),
    },
  ]
}
