import { HubError } from '../kernel/errors.js'

/** The archive is cut off or was changed: nothing of it was restored. */
export class ArchiveDamaged extends HubError {
  readonly code = 'ERR_ARCHIVE_DAMAGED'
  readonly status = 500
}

/** Not an archive, or one of a newer firebreak. */
export class ArchiveUnknown extends HubError {
  readonly code = 'ERR_ARCHIVE_UNKNOWN'
  readonly status = 500
}

/** A restore goes into a database without tables. */
export class TargetNotEmpty extends HubError {
  readonly code = 'ERR_TARGET_NOT_EMPTY'
  readonly status = 500
}

/** What the archive is written to takes no more. */
export class OutputFailed extends HubError {
  readonly code = 'ERR_OUTPUT_FAILED'
  readonly status = 500
}

/** There is nothing of firebreak to back up, or it changed its shape meanwhile. */
export class NothingToBackUp extends HubError {
  readonly code = 'ERR_NOTHING_TO_BACK_UP'
  readonly status = 500
}
