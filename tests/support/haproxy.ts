/** A real HAProxy before several API processes: on PATH, unpacked earlier, or from Debian's package without installing anything. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import {
  type DebianProgram,
  type UnpackedProgram,
  unpackDebianProgram,
  unpackedProgram,
} from '@flash-sale/launcher/debian-program.ts';
import { runCommand } from '@flash-sale/launcher/run-command.ts';
import { root } from '../tidy/source-files.ts';
import { eventually } from './world.ts';

const HAPROXY: DebianProgram = {
  called: 'HAProxy 2',
  names: ['haproxy'],
  majorMin: 2,
  carriesCode: /^(haproxy|lib.+)$/,
};

/** @throws with a sentence that says how to get it */
export async function findHaproxy(): Promise<UnpackedProgram> {
  if ((await runCommand('haproxy', ['-v'])).code === 0) return { path: 'haproxy', libraryPath: '' };
  const folder = join(root, '.data', 'haproxy-dist');
  mkdirSync(dirname(folder), { recursive: true });
  const found = unpackedProgram(folder, HAPROXY) ?? (await unpackDebianProgram({ program: HAPROXY, folder }));
  if (typeof found === 'string')
    throw new Error(
      'A rolling update is tried behind HAProxy, which is not on PATH. Install it ("apt-get install haproxy", "brew install haproxy") and ' +
        `type "npm test" again. (Debian's package could not be fetched: ${found}.)`,
    );
  return found;
}

/** Milliseconds between two questions for /health/ready; a process that fails two in a row gets no further request. */
const CHECK_MS = 100;

export interface Balancer {
  /** http://127.0.0.1:port */
  readonly url: string;
  stop(): Promise<void>;
}

/**
 * Spreads requests over those of the ports whose /health/ready says 200. It tries nothing a second time and reuses every connection that
 * it may: a buyer sees all that goes wrong behind it.
 *
 * @throws where it ends, with what it said
 */
export function startBalancer(program: UnpackedProgram, port: number, behind: number[]): Promise<Balancer> {
  const config = `defaults
  mode http
  retries 0
  http-reuse always
  timeout connect 5s
  timeout client 60s
  timeout server 60s
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
 * The proxy of the containers, by its own file. Only where it listens and where it finds the APIs is another: there is no engine here that
 * would name them.
 *
 * @param ports where buyers come in, and where its own health is asked for
 * @param gateways GATEWAY_ADDRESSES
 * @throws where a line that must be another is not in the file, or HAProxy ends
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

export function environmentOf(program: UnpackedProgram, settings: Record<string, string> = {}): NodeJS.ProcessEnv {
  return { ...process.env, ...settings, ...(program.libraryPath && { LD_LIBRARY_PATH: program.libraryPath }) };
}

async function startHaproxy(
  program: UnpackedProgram,
  config: string,
  port: number,
  settings?: Record<string, string>,
): Promise<Balancer> {
  const folder = mkdtempSync(join(tmpdir(), 'flash-sale-haproxy-'));
  const file = join(folder, 'haproxy.cfg');
  writeFileSync(file, config);
  const child = spawn(program.path, ['-db', '-f', file], {
    env: environmentOf(program, settings),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stderr.on('data', (chunk) => (output += chunk));
  const gone = once(child, 'exit');
  await eventually('HAProxy listens', 10_000, async () => {
    if (child.exitCode !== null) throw new Error(`HAProxy ended (${child.exitCode}):\n${output}`);
    return isListening(port);
  });
  return {
    url: `http://127.0.0.1:${port}`,
    async stop() {
      child.kill('SIGKILL');
      await gone;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const answer = (word: boolean) => {
      socket.destroy();
      resolve(word);
    };
    socket.once('connect', () => answer(true)).once('error', () => answer(false));
  });
}
