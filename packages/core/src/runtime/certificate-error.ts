/** Why a TLS connection to a server was not made, in words that end with what to do. */

/** Node's codes (tls, X.509 and OpenSSL's reasons). */
const UNKNOWN_SIGNER =
  /^(UNABLE_TO_(VERIFY_LEAF_SIGNATURE|GET_ISSUER_CERT(_LOCALLY)?)|(DEPTH_ZERO_SELF_SIGNED|SELF_SIGNED)_CERT(_IN_CHAIN)?|CERT_(SIGNATURE_FAILURE|UNTRUSTED))$/;
const OUT_OF_DATE = /^CERT_(HAS_EXPIRED|NOT_YET_VALID)$/;
const NO_TLS = /^ERR_SSL_(WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG)$|^EPROTO$/;

/**
 * @param names what is to be written to name a CA's file, and what to speak without TLS
 * @returns null where it is no such fault
 */
export function certificateFault(
  { code = '', message }: { readonly code?: string; readonly message: string },
  names: { readonly caFile: string; readonly withoutTls: string },
): string | null {
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return `shows a certificate for another name (${message}). Write the name that the certificate is for, or have one made for this name.`;
  if (UNKNOWN_SIGNER.test(code))
    return `shows a certificate that nobody known here has signed (${message}). Name the file of the CA that signed it: ${names.caFile}.`;
  if (OUT_OF_DATE.test(code)) return `shows a certificate that is not valid today (${message}). Have a new one made.`;
  if (NO_TLS.test(code) || /does not support SSL/.test(message))
    return `does not speak TLS at this port (${message}). Turn it on there, or ${names.withoutTls}.`;
  return null;
}
