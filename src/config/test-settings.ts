import { z } from 'zod'
import { CRASHPOINTS, readCrashpoint } from '../kernel/crashpoint.js'
import { list, setting } from './setting-types.js'

/**
 * What the fault suite may break on purpose: `crashpoint` lets FIREBREAK_CRASHPOINT count; `deaf-kafka` lets a Kafka
 * consumer wait for an answer for ever; `no-kafka-watchdog` leaves it so.
 */
const TEST_FAULTS = ['crashpoint', 'deaf-kafka', 'no-kafka-watchdog'] as const
export type TestFault = (typeof TEST_FAULTS)[number]

/** For the fault suite alone. */
export const TEST_SETTINGS = {
  FIREBREAK_TEST_FAULTS: setting(
    list
      .refine(
        (names) => names.every((name) => TEST_FAULTS.some((known) => known === name)),
        `leave it empty; tests write a list from ${TEST_FAULTS.join(', ')}`,
      )
      .transform((names) => names as TestFault[])
      .prefault(''),
    {
      section: 'Tests',
      description: `Never set this: it lets the fault suite break the hub on purpose. A list from ${TEST_FAULTS.join(', ')}.`,
      defaultText: 'none',
    },
  ),
  FIREBREAK_CRASHPOINT: setting(
    z
      .string()
      .refine(
        (value) => readCrashpoint(value) !== undefined,
        `write name:n, the name one of ${CRASHPOINTS.join(', ')}`,
      )
      .optional(),
    {
      section: 'Tests',
      description:
        'Never set this: name:n ends the process as by SIGKILL at the n-th pass of that point. Needs FIREBREAK_TEST_FAULTS=crashpoint.',
      defaultText: 'none',
    },
  ),
} as const
