/** Certificates made with openssl: own CAs, and a server's for localhost, not for 127.0.0.1. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
const SOON = ['-days', '2'];

/**
 * Writes NAME.pem and NAME.key of each CA, and server.pem and server.key signed by the first.
 *
 * @throws openssl's message if it is missing
 */
export function makeCertificates(folder: string, cas: readonly [string, ...string[]]): void {
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
  for (const ca of cas)
    openssl('req', '-x509', ...NEW_KEY, ...SOON, '-subj', `/CN=${ca}`, '-keyout', `${ca}.key`, '-out', `${ca}.pem`);
  openssl('req', ...NEW_KEY, '-subj', '/CN=localhost', '-keyout', 'server.key', '-out', 'server.csr');
  writeFileSync(join(folder, 'server.ext'), 'subjectAltName=DNS:localhost\n');
  const signed = ['-CA', `${cas[0]}.pem`, '-CAkey', `${cas[0]}.key`, '-CAcreateserial', '-extfile', 'server.ext'];
  openssl('x509', '-req', '-in', 'server.csr', ...signed, ...SOON, '-out', 'server.pem');
}

/** Lines of redis.conf for servers and sentinels. @param ca that signed the certificate */
export function tlsConfig(folder: string, ca: string, port: number): string[] {
  return [
    `tls-port ${port}`,
    `tls-cert-file ${join(folder, 'server.pem')}`,
    `tls-key-file ${join(folder, 'server.key')}`,
    `tls-ca-cert-file ${join(folder, `${ca}.pem`)}`,
    'tls-auth-clients no',
  ];
}
