/** Whether an address stays within this machine. */

/** @param host a name or an address, without port; "[::1]" as in a URL, too; or the folder of a socket */
export function isLoopback(host: string): boolean {
  return host.startsWith('/') || /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?)$/i.test(host);
}
