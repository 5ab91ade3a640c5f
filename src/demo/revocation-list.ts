/** What an access token says about its holder. */
export interface SessionClaims {
  iss?: string
  sub?: string
  sid?: string
}

type Identifier = Record<string, unknown>

/**
 * The sessions and users that lost access. A complex subject names the sessions that match every member given;
 * an absent member is a wildcard (SSF 1.0 §3.3, CAEP 1.0 §3.1).
 */
export function createRevocationList() {
  const revoked: Identifier[] = []
  return {
    add: (subject: Identifier) => void revoked.push(subject),
    isRevoked: (session: SessionClaims) => revoked.some((subject) => covers(subject, session)),
  }
}

function covers(subject: Identifier, session: SessionClaims): boolean {
  if (subject.format !== 'complex') return matches(subject, session) === true
  const members = Object.entries(subject).filter(([name]) => name !== 'format')
  const results = members.map(([, identifier]) => matches(identifier as Identifier, session))
  return results.some((result) => result === true) && !results.includes(false)
}

/** Undefined: this point cannot tell from its tokens, so the member neither matches nor excludes. */
function matches(identifier: Identifier, session: SessionClaims): boolean | undefined {
  if (identifier.format === 'iss_sub') return identifier.iss === session.iss && identifier.sub === session.sub
  if (identifier.format === 'opaque') return identifier.id === session.sid
  return undefined
}
