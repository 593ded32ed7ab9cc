// Runs a TypeScript script of this project on a machine that has Node 20 or newer, npm, and nothing of ours yet.
//
// 1. Check the Node that runs this file.
// 2. Install the packages with the pinned pnpm, only when they are not the lock file's already.
// 3. Run the script with the Node 24 that came with the packages; hand signals to it; exit as it does.
//
// Plain JavaScript with nothing but node:*, because it runs before anything is installed.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const NODE_MAJOR_MIN = 20;
const PROGRESS_EVERY_MS = 250;
/** Milliseconds between two looks at whether npm, which started us, is still there. */
const PARENT_LOOK_EVERY_MS = 250;
const SIGNAL_NUMBERS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 };

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const stampFile = join(root, 'node_modules', '.flash-sale-installed');

/** @param {string} script path from the project's root */
export async function bootstrap(script) {
  // A terminal that was closed, or a reader that went away, must not end us in the middle of a graceful stop.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  checkNode();
  const stamp = wantedStamp();
  if (!existsSync(nodeBinary()) || readStamp() !== stamp) await install(stamp);
  process.exitCode = await runScript(script);
}

function checkNode() {
  const major = Number.parseInt(process.versions.node, 10);
  if (major >= NODE_MAJOR_MIN) return;
  stop(
    `This needs Node ${NODE_MAJOR_MIN} or newer, and this is Node ${process.versions.node}. Get one from https://nodejs.org`,
  );
}

function stop(sentence) {
  process.stderr.write(`${sentence}\n`);
  process.exit(1);
}

/** What node_modules must have been made from to be used as it is. */
function wantedStamp() {
  const lock = createHash('sha256')
    .update(readFileSync(join(root, 'pnpm-lock.yaml')))
    .digest('hex');
  // Not the version of this Node: the project's own one comes with the packages, and npm puts it first on PATH.
  return `${lock} ${process.platform}-${process.arch}\n`;
}

function readStamp() {
  return existsSync(stampFile) ? readFileSync(stampFile, 'utf8') : '';
}

/** The binary itself, not a shim of the shell: signals must reach it. */
function nodeBinary() {
  return join(root, 'node_modules', 'node', 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
}

async function install(stamp) {
  const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const [pnpm] = packageManager.split('+');
  const startedAt = Date.now();
  const seconds = () => ((Date.now() - startedAt) / 1000).toFixed(1);
  const progress = startProgress(pnpm, seconds);
  const { how, output } = await runInstall(pnpm, progress.show);
  progress.end();
  if (how !== 0) {
    process.stderr.write(
      `${output}\nThe packages could not be installed (${pnpm} install: ${how}). Its output is above.\n`,
    );
    process.exit(1);
  }
  if (!existsSync(nodeBinary()))
    stop(`The packages are installed, but ${nodeBinary()} is missing. Remove node_modules and try again.`);
  writeFileSync(stampFile, stamp);
  process.stdout.write(`Packages installed in ${seconds()} s.\n`);
}

/** @returns {Promise<{ how: number | string, output: string }>} how it ended, and everything it said */
function runInstall(pnpm, show) {
  // In CI pnpm takes other defaults, and would throw away and make again what was installed without; so it is not told.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => name !== 'CI'));
  const args = [
    '-y',
    pnpm,
    'install',
    '--frozen-lockfile',
    '--reporter=append-only',
    '--config.confirmModulesPurge=false',
    // npx has brought the pinned version already; pnpm 12 would want to write itself into the frozen lock file.
    '--config.pmOnFail=ignore',
  ];
  return new Promise((resolve) => {
    const windows = process.platform === 'win32';
    // A process group of its own, so that a signal ends pnpm and everything it started.
    const child = spawn('npx', args, {
      cwd: root,
      env,
      shell: windows,
      detached: !windows,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    const collect = (text) => {
      output += text;
      show(text);
    };
    child.stdout.setEncoding('utf8').on('data', collect);
    child.stderr.setEncoding('utf8').on('data', collect);
    const quit = (signal) => {
      try {
        process.kill(windows ? child.pid : -child.pid, 'SIGTERM');
      } catch {
        // It is gone already.
      }
      process.stdout.write('\nInstallation stopped; type the command again to go on.\n');
      process.exit(128 + SIGNAL_NUMBERS[signal]);
    };
    for (const signal of Object.keys(SIGNAL_NUMBERS)) process.once(signal, quit);
    const finish = (how) => {
      for (const signal of Object.keys(SIGNAL_NUMBERS)) process.off(signal, quit);
      resolve({ how, output });
    };
    child.once('error', (error) => finish(error.message));
    child.once('close', (code, signal) => finish(signal ?? code));
  });
}

/** One line that moves in a terminal; elsewhere one line at the start. */
function startProgress(pnpm, seconds) {
  if (!process.stdout.isTTY) {
    process.stdout.write(`Installing packages with ${pnpm} (once; takes a minute or so) …\n`);
    return { show: () => {}, end: () => {} };
  }
  let said = 'fetching pnpm, then the packages, Node 24 and PostgreSQL among them (some 300 MB)';
  const draw = () => process.stdout.write(`\r\x1b[KInstalling packages with ${pnpm}: ${said}, ${seconds()} s`);
  const timer = setInterval(draw, PROGRESS_EVERY_MS);
  draw();
  return {
    show(text) {
      const counts = text.match(/Progress: resolved (\d+), reused (\d+), downloaded (\d+), added (\d+)/g)?.at(-1);
      if (counts) said = counts.replace('Progress: ', '');
      else if (/ (?:post)?install\b.*/.test(text)) said = 'running install scripts';
    },
    end() {
      clearInterval(timer);
      process.stdout.write('\r\x1b[K');
    },
  };
}

/** @returns {Promise<number>} the script's exit code */
function runScript(script) {
  return new Promise((resolve) => {
    const args = [join(root, script), ...process.argv.slice(2)];
    // The channel carries no messages: when it closes, the script knows that we are gone, even by SIGKILL.
    const child = spawn(nodeBinary(), args, { cwd: root, stdio: ['inherit', 'inherit', 'inherit', 'ipc'] });
    for (const signal of Object.keys(SIGNAL_NUMBERS)) process.on(signal, () => child.kill(signal));
    watchParent(() => child.connected && child.disconnect());
    child.once('error', (error) => {
      process.stderr.write(`${nodeBinary()} does not run: ${error.message}\n`);
      resolve(1);
    });
    child.once('exit', (code, signal) => resolve(code ?? 128 + (SIGNAL_NUMBERS[signal] ?? 9)));
  });
}

/** npm killed outright (or the shell between it and us) takes no leave; what it started must not stay behind. */
function watchParent(onGone) {
  if (process.env.npm_lifecycle_event === undefined) return;
  const parent = process.ppid;
  setInterval(() => process.ppid !== parent && onGone(), PARENT_LOOK_EVERY_MS).unref();
}
