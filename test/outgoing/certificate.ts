import { generateKeyPairSync, sign, X509Certificate } from 'node:crypto'

/** One DER element (X.690 §8.1). */
function der(tag: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  const short = [body.length]
  const long = [0x82, body.length >> 8, body.length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...(body.length < 128 ? short : long)]), body])
}

const hex = (text: string) => Buffer.from(text, 'hex')
const ECDSA_SHA256 = hex('300a06082a8648ce3d040302')
const COMMON_NAME = hex('0603550403')
const SUBJECT_ALT_NAME = hex('0603551d11')

/**
 * A certificate for one DNS name that nobody but itself vouches for, and its key, both in PEM.
 * @param endsAt the end of its validity, as UTCTime
 */
export function selfSigned(dnsName: string, endsAt = '491231235959Z'): { cert: string; key: string } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const name = der(0x30, der(0x31, der(0x30, COMMON_NAME, der(0x0c, Buffer.from(dnsName)))))
  const validity = der(0x30, der(0x17, Buffer.from('200101000000Z')), der(0x17, Buffer.from(endsAt)))
  const altName = der(0x30, SUBJECT_ALT_NAME, der(0x04, der(0x30, der(0x82, Buffer.from(dnsName)))))
  const content = der(
    0x30,
    der(0xa0, hex('020102')),
    hex('02010a'),
    ECDSA_SHA256,
    name,
    validity,
    name,
    publicKey.export({ format: 'der', type: 'spki' }),
    der(0xa3, der(0x30, altName)),
  )
  const signature = der(0x03, hex('00'), sign('sha256', content, privateKey))
  const certificate = new X509Certificate(der(0x30, content, ECDSA_SHA256, signature))
  return { cert: certificate.toString(), key: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString() }
}
