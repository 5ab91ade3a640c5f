/** What an operator may do. Routes ask for a permission, never for a role. */
export type Permission =
  | 'read'
  | 'audit.read'
  | 'events.emit'
  | 'parked.replay'
  | 'alerts.test'
  | 'streams.manage'
  | 'event-types.manage'
  | 'receivers.manage'
  | 'transmitters.manage'
  | 'agents.manage'
  | 'drills.run'
  | 'containments.create'
  | 'containments.restore'
  | 'rules.manage'
  | 'keys.manage'
  | 'subjects.erase'
  | 'operators.manage'

export const ROLES = ['viewer', 'operator', 'responder', 'approver', 'admin'] as const

export type Role = (typeof ROLES)[number]

const VIEWER: readonly Permission[] = ['read', 'audit.read']

const OPERATOR: readonly Permission[] = [
  ...VIEWER,
  'events.emit',
  'parked.replay',
  'alerts.test',
  'streams.manage',
  'event-types.manage',
  'receivers.manage',
  'transmitters.manage',
  'agents.manage',
  'drills.run',
]

/** Containing and restoring are kept apart, so that lifting a containment takes a second person. */
const PERMISSIONS: Readonly<Record<Role, ReadonlySet<Permission>>> = {
  viewer: new Set(VIEWER),
  operator: new Set(OPERATOR),
  responder: new Set([...OPERATOR, 'containments.create']),
  approver: new Set([...OPERATOR, 'containments.restore']),
  admin: new Set([
    ...OPERATOR,
    'containments.create',
    'containments.restore',
    'rules.manage',
    'keys.manage',
    'subjects.erase',
    'operators.manage',
  ]),
}

export function isAllowed(role: Role, permission: Permission): boolean {
  return PERMISSIONS[role].has(permission)
}

/** Held by every role: no operator is refused where one of these is asked for. */
export const HELD_BY_ALL: readonly Permission[] = VIEWER.filter((permission) =>
  ROLES.every((role) => isAllowed(role, permission)),
)

/** The roles that hold a permission, weakest first: for the text of a refusal. */
export function rolesAllowed(permission: Permission): Role[] {
  return ROLES.filter((role) => isAllowed(role, permission))
}
