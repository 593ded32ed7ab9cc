/** A real HAProxy before several API processes: on PATH, unpacked earlier, or from Debian's package without installing anything. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { eventually } from '@flash-sale/core/testing/world.ts';
import {
  type DebianProgram,
  type UnpackedProgram,
  unpackDebianProgram,
  unpackedProgram,
} from '@flash-sale/launcher/debian-program.ts';
import { runCommand } from '@flash-sale/launcher/run-command.ts';
import { root } from './tidy/source-files.ts';

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
  const isRoot = process.getuid?.() === 0;
  const found =
    unpackedProgram(folder, HAPROXY) ??
    (await unpackDebianProgram({ program: HAPROXY, folder, run: runCommand, isRoot, say: () => {} }));
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
export async function startBalancer(program: UnpackedProgram, port: number, behind: number[]): Promise<Balancer> {
  const folder = mkdtempSync(join(tmpdir(), 'flash-sale-haproxy-'));
  const file = join(folder, 'haproxy.cfg');
  writeFileSync(
    file,
    `defaults
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
`,
  );
  const child = spawn(program.path, ['-db', '-f', file], {
    env: { ...process.env, ...(program.libraryPath && { LD_LIBRARY_PATH: program.libraryPath }) },
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
