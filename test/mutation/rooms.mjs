/**
 * The rooms that hold protocol rules, each with the tests that reach it in one process. Tests that start hub processes
 * are not among them: the code is changed in the process of the tests only. Descriptions for OpenAPI are left out.
 */
const PURE = ['test/secevent/**', 'test/eventlog/record-codec', 'test/spec/!(*.db)']
const SSF = [
  'test/spec/{ssf-4,ssf-7.1-default,ssf-7.2,ssf-8,rfc6749-5,rfc6750,caep-interop,compatibility}!(*two-hubs.db)',
  'test/http/error-answers',
]

/** `tables`: what is made when a module loads is tried too, which takes a process of its own for each change. */
export const ROOMS = {
  secevent: { mutate: ['src/secevent/**/*.ts'], spec: PURE, tables: true },
  ingest: {
    mutate: ['src/ingest/**/!(*-api).ts'],
    spec: ['test/ingest/**', 'test/spec/!(*.db)', 'test/http/error-answers'],
  },
  auth: {
    mutate: ['src/auth/**/!(*-api).ts'],
    spec: ['test/auth/!(*-hub.db)', 'test/http/error-answers', 'test/http/routes', ...SSF],
  },
  streams: { mutate: ['src/streams/**/!(*-api).ts'], spec: ['test/streams/**', ...SSF] },
  delivery: {
    mutate: ['src/delivery/{poll,push,attempt}-*.ts', 'src/delivery/failure-class.ts'],
    spec: [
      'test/delivery/{poll,push,attempt,failure-class,stream-sender}*',
      'test/spec/compatibility*',
      'test/http/error-answers',
    ],
  },
}
