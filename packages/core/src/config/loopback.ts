/**
 * Whether a host is this machine.
 *
 * @param host name or address without port, "[::1]", or the folder of a Unix socket
 */
export function isLoopback(host: string): boolean {
  return host.startsWith('/') || /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?)$/i.test(host);
}
