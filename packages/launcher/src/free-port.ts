/** TCP ports: whether one can be listened on, and which one a private server keeps. */
import { randomInt } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';

/**
 * Below the ports that systems give to outgoing connections (Linux: from 32768, others: from 49152). In that range a
 * client that reconnects while its server restarts could be given the server's own port, connect to itself, and keep
 * the server out.
 */
const PRIVATE_PORTS = { from: 20_000, below: 30_000 };

const TRIES = 50;

/** @returns 'free', or the code of the error that listening fails with: EADDRINUSE, EACCES, EADDRNOTAVAIL */
export function portState(port: number, host = '127.0.0.1'): Promise<string> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve('free')));
  });
}

/** @throws Error with a sentence that says what is wrong with the port and how to choose another */
export async function requireListenable(port: number, host: string): Promise<void> {
  const state = await portState(port, host);
  if (state === 'free') return;
  const another = `PORT=${port === 5_001 ? 5_002 : 5_001} npm start`;
  const sentences: Record<string, string> = {
    EADDRINUSE: `Port ${port} on ${host} is taken by another program. Stop that program, or choose another port: ${another}`,
    EACCES: `Port ${port} may not be used by this account. Choose one above 1023: ${another}`,
  };
  throw new Error(
    sentences[state] ??
      `HOST=${host} is not an address of this machine (${state}). Use HOST=127.0.0.1, or HOST=0.0.0.0 for every address.`,
  );
}

/** The port written in `file` while it is free, else a new one, which is written there: addresses survive restarts. */
export async function keptPort(file: string): Promise<number> {
  const kept = readPort(file);
  if (kept !== undefined && (await portState(kept)) === 'free') return kept;
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const port = randomInt(PRIVATE_PORTS.from, PRIVATE_PORTS.below);
    if ((await portState(port)) !== 'free') continue;
    writeFileSync(file, `${port}\n`);
    return port;
  }
  throw new Error(`No port from ${PRIVATE_PORTS.from} to ${PRIVATE_PORTS.below - 1} is free on 127.0.0.1.`);
}

function readPort(file: string): number | undefined {
  try {
    const port = Number(readFileSync(file, 'utf8').trim());
    return Number.isInteger(port) && port > 0 && port < 65_536 ? port : undefined;
  } catch {
    return undefined;
  }
}
