import type { Row } from './row.js'
import { ADDRESS_ROWS } from './rows/addresses.js'
import { ATTACK_ROWS } from './rows/attacks.js'
import { CLOCK_ROWS } from './rows/clock.js'
import { CRASH_ROWS } from './rows/crash.js'
import { ENDPOINT_ANSWER_ROWS } from './rows/endpoint-answers.js'
import { ENDPOINT_ROWS } from './rows/endpoints.js'
import { KAFKA_ROWS } from './rows/kafka.js'
import { KEY_ROWS } from './rows/keys.js'
import { MALFORMED_ROWS } from './rows/malformed.js'
import { MANY_ROWS } from './rows/many.js'
import { OWN_KEY_ROWS } from './rows/own-keys.js'
import { POSTGRES_ROWS } from './rows/postgres.js'
import { RELEASE_ROWS } from './rows/releases.js'
import { SECRET_ROWS } from './rows/secrets.js'

const GROUPS = 'CKPESJRDTOXU'
const place = ({ id }: Row): number => GROUPS.indexOf(id[0] as string) * 1_000 + Number(/\d+/.exec(id)?.[0])

/** All faults, in the order of the report. */
export const ROWS: readonly Row[] = [
  ...CRASH_ROWS,
  ...KAFKA_ROWS,
  ...POSTGRES_ROWS,
  ...ENDPOINT_ROWS,
  ...ENDPOINT_ANSWER_ROWS,
  ...MALFORMED_ROWS,
  ...KEY_ROWS,
  ...OWN_KEY_ROWS,
  ...ADDRESS_ROWS,
  ...ATTACK_ROWS,
  ...CLOCK_ROWS,
  ...MANY_ROWS,
  ...SECRET_ROWS,
  ...RELEASE_ROWS,
].sort((one, other) => place(one) - place(other))
