import { type Database, sqlRows } from '../storage/database.js'

/** What the registry says about a receiver, as far as its streams depend on it. */
export interface ReceiverTerms {
  readonly audience: string
  readonly defaultSubjects: 'ALL' | 'NONE'
  /** Undefined: every type. */
  readonly grantEventTypes: readonly string[] | undefined
  /** Its own `inactivity_timeout`, seconds; 0: none, undefined: the hub's. */
  readonly inactivityTimeoutS: number | undefined
}

interface TermsRow {
  audience: string
  default_subjects: 'ALL' | 'NONE'
  grant_event_types: string[] | null
  inactivity_timeout_s: number | null
}

const SELECT =
  'select audience, default_subjects, grant_event_types, inactivity_timeout_s from receivers where id = ?'

/** Reads `receivers`, which the room auth writes. */
export function createReceiverTermsReadModel(db: Database) {
  async function read(sql: string, receiverId: string): Promise<ReceiverTerms | undefined> {
    const [row] = await sqlRows<TermsRow>(db, sql, [receiverId])
    return row && toTerms(row)
  }
  return {
    find: (receiverId: string) => read(SELECT, receiverId),
    /** Grants cannot change before the transaction ends: what is computed from them is committed with them. */
    hold: (receiverId: string) => read(`${SELECT} for share`, receiverId),
    /** As `hold`, and one at a time per receiver: for creating, where streams are counted. */
    holdAlone: (receiverId: string) => read(`${SELECT} for no key update`, receiverId),
  }
}

function toTerms(row: TermsRow): ReceiverTerms {
  return {
    audience: row.audience,
    defaultSubjects: row.default_subjects,
    grantEventTypes: row.grant_event_types ?? undefined,
    inactivityTimeoutS: row.inactivity_timeout_s ?? undefined,
  }
}
