/** How a client names itself by its secret: RFC 6749 §2.3.1 has both form-encoded before RFC 7617 puts them together. */
export function basicCredentials(clientId: string, secret: string): string {
  return `Basic ${Buffer.from(`${formEncode(clientId)}:${formEncode(secret)}`).toString('base64')}`
}

/** One value of a form (application/x-www-form-urlencoded). */
export const formEncode = (text: string): string => new URLSearchParams([['', text]]).toString().slice(1)
