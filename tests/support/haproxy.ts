/** A real HAProxy before several API processes. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { UnpackedProgram } from '@flash-sale/launcher/debian-program.ts';
import { root } from '../tidy/source-files.ts';
import { findProgram, startProgram } from './program.ts';

export const findHaproxy = (): Promise<UnpackedProgram> =>
  findProgram('haproxy', { majorMin: 2, versionArg: '-v', libraries: /^lib/ });

/** ms between two health checks; a process that fails two in a row gets no requests. */
const CHECK_MS = 100;

export interface Balancer {
  /** http://127.0.0.1:port */
  readonly url: string;
  stop(): Promise<void>;
}

/**
 * Spreads requests over the ports whose /health/ready says 200. It retries nothing and reuses every
 * connection, so that buyers see every fault behind it.
 */
export function startBalancer(program: UnpackedProgram, port: number, behind: number[]): Promise<Balancer> {
  const config = `defaults
  mode http
  retries 0
  http-reuse always
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout check 2s
frontend crowd
  bind 127.0.0.1:${port}
  default_backend api
backend api
  balance roundrobin
  option httpchk GET /health/ready
  http-check expect status 200
  default-server check inter ${CHECK_MS}ms fall 2 rise 1
${behind.map((one) => `  server api-${one} 127.0.0.1:${one}`).join('\n')}
`;
  return startHaproxy(program, config, port);
}

/** The file that the image of the proxy has. */
export const SHIPPED_CONFIG = join(root, 'deploy/docker/haproxy.cfg');

/**
 * The containers' proxy with its own file; only its addresses are changed.
 *
 * @param ports for buyers, and for its own health @param gateways GATEWAY_ADDRESSES @throws if a
 * line to change is missing, or HAProxy exits
 */
export function startShippedProxy(
  program: UnpackedProgram,
  ports: { crowd: number; health: number },
  behind: number[],
  gateways: string,
): Promise<Balancer> {
  const changes: [RegExp, string][] = [
    [/^resolvers engine\n(?: +.*\n)+/gm, ''],
    [/^ {2}bind :5001$/gm, `  bind 127.0.0.1:${ports.crowd}`],
    [/^ {2}bind 127\.0\.0\.1:8404$/gm, `  bind 127.0.0.1:${ports.health}`],
    [
      /^ {2}server-template api 10 api:5001 (.*) resolvers engine init-addr none$/gm,
      behind.map((one) => `  server api-${one} 127.0.0.1:${one} $1`).join('\n'),
    ],
  ];
  const config = changes.reduce(
    (text, [line, another]) => {
      if (text.search(line) < 0) throw new Error(`${SHIPPED_CONFIG} has no line ${line}: change it here, too.`);
      return text.replace(line, another);
    },
    readFileSync(SHIPPED_CONFIG, 'utf8'),
  );
  return startHaproxy(program, config, ports.crowd, { GATEWAY_ADDRESSES: gateways });
}

async function startHaproxy(
  program: UnpackedProgram,
  config: string,
  port: number,
  env: Record<string, string> = {},
): Promise<Balancer> {
  const folder = mkdtempSync(join(tmpdir(), 'flash-sale-haproxy-'));
  const file = join(folder, 'haproxy.cfg');
  writeFileSync(file, config);
  const running = await startProgram(program, ['-db', '-f', file], { env, answers: () => isListening(port) });
  return {
    url: `http://127.0.0.1:${port}`,
    async stop() {
      await running.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const end = (listening: boolean) => {
      socket.destroy();
      resolve(listening);
    };
    socket.once('connect', () => end(true)).once('error', () => end(false));
  });
}
