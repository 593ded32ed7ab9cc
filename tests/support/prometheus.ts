/** A real Prometheus, and its promtool: on PATH, unpacked earlier, or from Debian's package without installing anything. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type DebianProgram, unpackDebianProgram, unpackedProgram } from '@flash-sale/launcher/debian-program.ts';
import { runCommand } from '@flash-sale/launcher/run-command.ts';
import { root } from '../tidy/source-files.ts';
import type { AnyJson } from './any-json.ts';
import { eventually } from './world.ts';

// It is written in Go: of what its package depends on, the program itself needs the C library only.
const PROMETHEUS: DebianProgram = {
  called: 'Prometheus 2',
  names: ['prometheus'],
  majorMin: 2,
  carriesCode: /^prometheus$/,
};

/** @throws with a sentence that says how to get it */
export async function findPrometheus(): Promise<{ prometheus: string; promtool: string }> {
  const onPath = await Promise.all(['prometheus', 'promtool'].map((name) => runCommand(name, ['--version'])));
  if (onPath.every(({ code }) => code === 0)) return { prometheus: 'prometheus', promtool: 'promtool' };
  const folder = join(root, '.data', 'prometheus-dist');
  mkdirSync(dirname(folder), { recursive: true });
  const found = unpackedProgram(folder, PROMETHEUS) ?? (await unpackDebianProgram({ program: PROMETHEUS, folder }));
  if (typeof found === 'string')
    throw new Error(
      'The alerts are tried with prometheus and promtool, and neither is on PATH. Install them ("apt-get install prometheus", ' +
        `"brew install prometheus") and type "npm test" again. (Debian's package could not be fetched: ${found}.)`,
    );
  return { prometheus: found.path, promtool: join(dirname(found.path), 'promtool') };
}

const monitoring = join(root, 'deploy/monitoring');
/** Of deploy/monitoring/alerts. */
const RULE_FILES = ['sale', 'dependencies'];

/**
 * deploy/monitoring as it stands, but for addresses, how often it looks, and what `change` makes of the rules.
 *
 * @param everyS seconds between two looks at a process, and how long it may take to answer
 * @returns a new folder, for startPrometheus
 */
export function copyMonitoring(
  ports: { api: number; worker: number },
  everyS: number,
  change: (rules: string) => string,
): string {
  const folder = mkdtempSync(join(tmpdir(), 'prometheus-'));
  mkdirSync(join(folder, 'alerts'));
  for (const name of RULE_FILES) {
    const file = join('alerts', `${name}.yml`);
    writeFileSync(join(folder, file), change(readFileSync(join(monitoring, file), 'utf8')));
  }
  const config = readFileSync(join(monitoring, 'prometheus.yml'), 'utf8');
  writeFileSync(
    join(folder, 'prometheus.yml'),
    config
      .replace('scrape_interval: 5s', `scrape_interval: ${everyS}s\n  scrape_timeout: ${everyS}s`)
      .replace('evaluation_interval: 5s', 'evaluation_interval: 1s')
      .replace('127.0.0.1:9100', `127.0.0.1:${ports.api}`)
      .replace('127.0.0.1:9101', `127.0.0.1:${ports.worker}`),
  );
  return folder;
}

export interface Prometheus {
  /** @returns the samples of an instant query, now. @throws where it cannot be read or carried out */
  query(expression: string): Promise<AnyJson[]>;
  /** Every rule of every group, as the server sees it. */
  rules(): Promise<AnyJson[]>;
  /** What is pending or firing now. */
  alerts(): Promise<AnyJson[]>;
  stop(): Promise<void>;
}

/** @param folder holds prometheus.yml, and is written to */
export async function startPrometheus(program: string, folder: string, port: number): Promise<Prometheus> {
  const base = `http://127.0.0.1:${port}`;
  const child: ChildProcess = spawn(
    program,
    [
      `--config.file=${join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=warn',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let output = '';
  child.stderr?.on('data', (chunk) => (output += chunk));
  const gone = once(child, 'exit');
  await eventually('Prometheus is ready', 30_000, async () => {
    if (child.exitCode !== null) throw new Error(`Prometheus ended (${child.exitCode}):\n${output}`);
    return fetch(`${base}/-/ready`).then(
      ({ ok }) => ok,
      () => false,
    );
  });
  async function ask(path: string): Promise<AnyJson> {
    const answer: AnyJson = await (await fetch(`${base}/api/v1/${path}`)).json();
    if (answer.status !== 'success') throw new Error(`${path}: ${answer.error}`);
    return answer.data;
  }
  return {
    query: async (expression) => (await ask(`query?query=${encodeURIComponent(expression)}`)).result,
    rules: async () => (await ask('rules')).groups.flatMap((group: AnyJson) => group.rules),
    alerts: async () => (await ask('alerts')).alerts,
    async stop() {
      child.kill('SIGKILL');
      await gone;
    },
  };
}
