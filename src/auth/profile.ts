import { HubError, InvalidRequest } from '../kernel/errors.js'
import type { ReceiverSettings } from './receiver.js'

/** What a receiver's streams can be held to beyond SSF 1.0 (docs/receivers.md). */
export const PROFILES = ['caep-interop'] as const

export type Profile = (typeof PROFILES)[number]

/** CAEP interoperability profile §2.7.1: tokens live an hour at most, and come from the authorization server. */
export class TokenNotInProfile extends HubError {
  readonly code = 'ERR_TOKEN_NOT_IN_PROFILE'
  readonly status = 409

  constructor(profile: Profile) {
    super(
      `A receiver of the profile ${profile} has short-lived tokens only; let it ask for them at /oauth/token.`,
    )
  }
}

/**
 * CAEP interoperability profile §2.6 (RS256 alone), and what its receivers take for granted: every subject is in.
 * @throws InvalidRequest that names what to change
 */
export function checkProfile(
  settings: Pick<ReceiverSettings, 'profile' | 'signingAlg' | 'defaultSubjects'>,
): void {
  const { profile, signingAlg, defaultSubjects } = settings
  if (!profile) return
  if (signingAlg !== 'RS256') {
    throw new InvalidRequest(
      `The profile ${profile} signs with RS256 alone; set signing_alg to RS256 with it, not ${signingAlg}.`,
    )
  }
  if (defaultSubjects !== 'ALL') {
    throw new InvalidRequest(
      `The profile ${profile} has every subject in a stream; set default_subjects to ALL with it, not ${defaultSubjects}.`,
    )
  }
}
