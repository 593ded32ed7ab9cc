/** Why Redis or PostgreSQL cannot be used, and what to do about it. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Dependency } from './errors.ts';

/** A server is unavailable or unfit; the message says what to do. */
export class UnfitServerError extends Error {
  override name = 'UnfitServerError';
  /** Whether a retry can help. `always`: the server loads its data, however long that takes. */
  readonly retry: 'never' | 'maybe' | 'always';
  /** Of a running process, which waits as in an outage. */
  readonly dependency: Dependency | null;

  constructor(message: string, retry: 'never' | 'maybe' | 'always' = 'never', dependency: Dependency | null = null) {
    super(message);
    this.retry = retry;
    this.dependency = dependency;
  }
}

/** Redis and PostgreSQL belong to different systems. */
export class OtherLedgerError extends UnfitServerError {
  override name = 'OtherLedgerError';
  constructor(dependency: Dependency, message: string) {
    super(message, 'never', dependency);
  }
}

/** @param waitMs milliseconds for which a server that does not answer is retried; 0 = one try */
export async function untilFit<Result>(waitMs: number, check: () => Promise<Result>): Promise<Result> {
  const deadline = performance.now() + waitMs;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      const retry = error instanceof UnfitServerError ? error.retry : 'never';
      if (retry === 'never' || (retry === 'maybe' && performance.now() >= deadline)) throw error;
    }
    await sleep(200);
  }
}

/**
 * @param setting PORT, ADMIN_PORT or METRICS_PORT
 * @param code of the error of listen(): EADDRINUSE, EACCES, EADDRNOTAVAIL
 */
export function listenFault(setting: string, { port, host }: { port: number; host: string }, code: string): string {
  if (code === 'EADDRINUSE')
    return `Port ${port} on ${host} (${setting}) is taken by another program. Stop that program, or choose another port: ${setting}=${port === 65_535 ? port - 1 : port + 1}`;
  if (code === 'EACCES') return `Port ${port} (${setting}) may not be used by this account. Choose one above 1023.`;
  const hostSetting = setting.replace('PORT', 'HOST');
  return `${hostSetting}=${host} is not an address of this machine (${code}). Use ${hostSetting}=127.0.0.1, or ${hostSetting}=0.0.0.0 for every address.`;
}

/** Error codes of Node's tls, of X.509 verification and of OpenSSL. */
const UNKNOWN_SIGNER =
  /^(UNABLE_TO_(VERIFY_LEAF_SIGNATURE|GET_ISSUER_CERT(_LOCALLY)?)|(DEPTH_ZERO_SELF_SIGNED|SELF_SIGNED)_CERT(_IN_CHAIN)?|CERT_(SIGNATURE_FAILURE|UNTRUSTED))$/;
const OUT_OF_DATE = /^CERT_(HAS_EXPIRED|NOT_YET_VALID)$/;
const NO_TLS = /^ERR_SSL_(WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG)$|^EPROTO$/;

/**
 * @param settings how a CA file is named, and how TLS is turned off, in this server's address
 * @returns a predicate for "The server at … …", or null if the error has nothing to do with TLS
 */
export function certificateFault(
  { code = '', message }: { readonly code?: string; readonly message: string },
  settings: { readonly caFile: string; readonly withoutTls: string },
): string | null {
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return `shows a certificate for another name (${message}). Connect by the certificate's name, or issue one for this name.`;
  if (UNKNOWN_SIGNER.test(code))
    return `shows a certificate from an unknown authority (${message}). Name the CA's file: ${settings.caFile}.`;
  if (OUT_OF_DATE.test(code)) return `shows a certificate that is not valid today (${message}). Renew it.`;
  if (NO_TLS.test(code) || /does not support SSL/.test(message))
    return `does not speak TLS at this port (${message}). Enable it there, or ${settings.withoutTls}.`;
  return null;
}
