/** A closed loop: so many connections, each of which asks again as soon as it is answered. Played by wrk. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { cpuMs } from './cpu-time.ts';

const script = fileURLToPath(new URL('orders.lua', import.meta.url));

export type Mode = 'fresh' | 'one-buyer' | 'replays';

export interface ClosedLoop {
  readonly seconds: number;
  readonly requests: number;
  /** Replies other than 2xx. */
  readonly refused: number;
  readonly broken: number;
  /** ms. */
  readonly p50: number;
  readonly p99: number;
  /** Requests a second. */
  readonly rate: number;
  /** CPU time that wrk used, ms. */
  readonly generatorCpuMs: number;
}

let runs = 0;

/** @throws where wrk is not there */
export async function closedLoop(options: {
  url: string;
  saleId: string;
  connections: number;
  seconds: number;
  mode?: Mode;
  /** Buyers of one run are not those of another, except where both are given the same name. */
  run?: string;
  /** Ends it before its time. */
  signal?: AbortSignal;
}): Promise<ClosedLoop> {
  const { url, saleId, connections, seconds, mode = 'fresh' } = options;
  runs += 1;
  const run = options.run ?? `r${process.pid.toString(36)}${runs}`;
  // One thread: it is epoll all the way, and a second one would only take a core from the system.
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '-s', script];
  const child = spawn('wrk', [...args, `${url}/api/flash-sales/${saleId}/order`, '--', mode, run], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  // wrk sums up what it has when it is interrupted.
  options.signal?.addEventListener('abort', () => child.kill('SIGINT'), { once: true });
  let output = '';
  let generatorCpuMs = 0;
  child.stdout.on('data', (text) => (output += text));
  child.stderr.on('data', (text) => (output += text));
  const look = setInterval(() => {
    generatorCpuMs = Math.max(generatorCpuMs, cpuMs(child.pid ?? 0));
  }, 200);
  try {
    await new Promise<void>((resolve, reject) => {
      child.once('error', (error: NodeJS.ErrnoException) =>
        reject(
          error.code === 'ENOENT'
            ? new Error(
                'The closed loops are played by wrk, which is not on PATH. Install it: "apt install wrk" or "brew install wrk".',
              )
            : error,
        ),
      );
      child.once('close', (code) => (code === 0 ? resolve() : reject(new Error(`wrk ended with ${code}:\n${output}`))));
    });
  } finally {
    clearInterval(look);
  }
  const line = /^result: (\{.*\})$/m.exec(output)?.[1];
  if (line === undefined) throw new Error(`wrk said no result:\n${output}`);
  const result = JSON.parse(line) as Omit<ClosedLoop, 'rate' | 'generatorCpuMs'>;
  return { ...result, rate: result.requests / result.seconds, generatorCpuMs };
}
