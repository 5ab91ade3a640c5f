type Present<T> = { [Name in keyof T]?: Exclude<T[Name], undefined> }

/** The members that have a value: a copy without those that are undefined. */
export function present<T extends object>(members: T): Present<T> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as Present<T>
}
