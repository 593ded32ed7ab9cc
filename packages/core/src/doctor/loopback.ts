/** Whether an address stays within this machine. */

/** @param host a name or an address, without port; "[::1]" as in a URL, too */
export function isLoopback(host: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?)$/i.test(host);
}
