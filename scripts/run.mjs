// node scripts/run.mjs <command> [argument …]: runs scripts/<command>.ts on a machine with only
// Node 20 or newer and npm.
//
// 1. Check the version of the Node that runs this file.
// 2. Install the packages with the pinned pnpm, unless node_modules was made from this lock file.
// 3. Run the script with the Node 24 that comes with the packages. Forward signals to it; exit with
//    its exit code.
//
// Plain JavaScript with node:* modules only, because it runs before anything is installed.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const NODE_MAJOR_MIN = 20;
/** Interval of the check that the parent process (npm) still runs. */
const PARENT_CHECK_EVERY_MS = 250;
const SIGNAL_NUMBERS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 };
/** Exit code if a command cannot start. For these commands 1 means a finding. */
const CANNOT_START = { 'audit-sale': 2, 'recover-orders': 2 };

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const stampFile = join(root, 'node_modules', '.flash-sale-installed');

const [command = '', ...args] = process.argv.slice(2);
const script = join(root, 'scripts', `${command}.ts`);

// A closed terminal or pipe must not end this process during a graceful stop.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
if (!/^[a-z-]+$/.test(command) || !existsSync(script)) stop('Usage: node scripts/run.mjs <command> [argument …]');
try {
  checkNode();
  if (!existsSync(nodeBinary()) || readStamp() !== wantedStamp()) await install();
  process.exitCode = await runScript();
} catch (error) {
  stop(error.stack);
}

function checkNode() {
  const major = Number.parseInt(process.versions.node, 10);
  if (major >= NODE_MAJOR_MIN) return;
  stop(
    `This needs Node ${NODE_MAJOR_MIN} or newer, but this is Node ${process.versions.node}. Get it from https://nodejs.org`,
  );
}

function stop(sentence) {
  process.stderr.write(`${sentence}\n`);
  process.exit(CANNOT_START[command] ?? 1);
}

/** Identifies the lock file and platform that node_modules was made from. */
function wantedStamp() {
  const lock = createHash('sha256')
    .update(readFileSync(join(root, 'pnpm-lock.yaml')))
    .digest('hex');
  // Without the Node version: the project's own Node comes with the packages.
  return `${lock} ${process.platform}-${process.arch}\n`;
}

function readStamp() {
  return existsSync(stampFile) ? readFileSync(stampFile, 'utf8') : '';
}

/** The binary, not a shell shim: signals must reach it. */
function nodeBinary() {
  return join(root, 'node_modules', 'node', 'bin', 'node');
}

async function install() {
  const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const [pnpm] = packageManager.split('+');
  const startedAt = performance.now();
  process.stdout.write(`Installing packages with ${pnpm} (once; some 300 MB, takes a minute or so) …\n`);
  const { how, output } = await runInstall(pnpm);
  if (how !== 0) stop(`${output}\nThe packages could not be installed (${pnpm} install: ${how}). Its output is above.`);
  if (!existsSync(nodeBinary()))
    stop(`The packages are installed, but ${nodeBinary()} is missing. Remove node_modules and try again.`);
  writeFileSync(stampFile, wantedStamp());
  process.stdout.write(`Packages installed in ${((performance.now() - startedAt) / 1000).toFixed(1)} s.\n`);
}

/**
 * A terminal shows the last line of the output.
 *
 * @returns {Promise<{ how: number | string, output: string }>} exit code, signal or error
 */
function runInstall(pnpm) {
  // With CI set, pnpm has other defaults and would remove packages installed without it.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => name !== 'CI'));
  const show = (line) => {
    const { isTTY, columns = 80 } = process.stdout;
    if (isTTY) process.stdout.write(`\r${line.slice(0, columns - 1)}\x1b[K`);
  };
  const install = [
    '-y',
    pnpm,
    'install',
    '--frozen-lockfile',
    // The other one repeats its progress line where that is wider than the terminal.
    '--reporter=append-only',
    '--config.confirmModulesPurge=false',
    // npx already runs the pinned version; pnpm 12 would try to add itself to the frozen lock file.
    '--config.pmOnFail=ignore',
  ];
  return new Promise((resolve) => {
    // Its own process group, so that a signal ends pnpm and everything it started.
    const child = spawn('npx', install, { cwd: root, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        output += text;
        show(output.trimEnd().split('\n').at(-1));
      });
    }
    const quit = (signal) => {
      try {
        process.kill(-child.pid, 'SIGTERM');
      } catch {
        // It has ended already.
      }
      process.stdout.write('\nInstallation stopped; run the command again to continue.\n');
      process.exit(128 + SIGNAL_NUMBERS[signal]);
    };
    for (const signal of Object.keys(SIGNAL_NUMBERS)) process.once(signal, quit);
    const finish = (how) => {
      show('');
      for (const signal of Object.keys(SIGNAL_NUMBERS)) process.off(signal, quit);
      resolve({ how, output });
    };
    child.once('error', (error) => finish(error.message));
    child.once('close', (code, signal) => finish(signal ?? code));
  });
}

/** @returns {Promise<number>} the script's exit code */
function runScript() {
  return new Promise((resolve) => {
    // The IPC channel has no messages: when it closes, the script knows that this process has
    // ended.
    const stdio = ['inherit', 'inherit', 'inherit', 'ipc'];
    const child = spawn(nodeBinary(), [script, ...args], { cwd: root, stdio });
    for (const signal of Object.keys(SIGNAL_NUMBERS)) process.on(signal, () => child.kill(signal));
    watchParent(() => child.connected && child.disconnect());
    child.once('error', (error) => {
      process.stderr.write(`${nodeBinary()} does not run: ${error.message}\n`);
      resolve(CANNOT_START[command] ?? 1);
    });
    child.once('exit', (code, signal) => resolve(code ?? 128 + (SIGNAL_NUMBERS[signal] ?? 9)));
  });
}

/** A killed npm or shell sends no signal, but the script must not outlive it. */
function watchParent(onGone) {
  if (process.env.npm_lifecycle_event === undefined) return;
  const parent = process.ppid;
  setInterval(() => process.ppid !== parent && onGone(), PARENT_CHECK_EVERY_MS).unref();
}
