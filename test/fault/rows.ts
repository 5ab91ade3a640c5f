import type { Row } from './row.js'
import { CRASH_ROWS } from './rows/crash.js'
import { ENDPOINT_ROWS } from './rows/endpoints.js'
import { KAFKA_ROWS } from './rows/kafka.js'
import { POSTGRES_ROWS } from './rows/postgres.js'

/** All faults, in the order of the report. */
export const ROWS: readonly Row[] = [...CRASH_ROWS, ...POSTGRES_ROWS, ...ENDPOINT_ROWS, ...KAFKA_ROWS]
