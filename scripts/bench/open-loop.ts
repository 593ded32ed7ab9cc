/**
 * An open loop: requests are sent at the times of a plan, whether or not earlier ones were answered, and each is timed from the moment at
 * which it was due. So a server that stalls is charged for everybody who came meanwhile (no "coordinated omission": Gil Tene).
 * Own code, in a process of its own: k6 keeps such a plan, too, and costs twenty times the CPU time of what is measured; wrk and autocannon
 * are closed loops. HTTP is as little as the two servers here need: one reply after another on a connection, each with a Content-Length.
 *
 *   node scripts/bench/open-loop.ts '{"url":…,"path":…,"rate":…,"seconds":…,"connections":…,"run":…}'
 */
import { execFile } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

export interface OpenLoopPlan {
  readonly url: string;
  /** One, or several that are asked in turn. */
  readonly path: string | readonly string[];
  /** true: the paths one behind the other, each with its part of the requests; else in turns. */
  readonly oneByOne?: boolean;
  /** Requests a second; null: each connection asks again at once, until `count` have been sent. */
  readonly rate: number | null;
  readonly seconds: number;
  /** Seconds before, in which as much is asked; those requests are not in the times: the generator's own code gets warm, too. Only with a rate. */
  readonly warmUpSeconds?: number;
  /** Requests in all, where there is no rate. */
  readonly count?: number;
  readonly connections: number;
  /** Part of the buyers' names. */
  readonly run: string;
  /** true: each request has an idempotency key of its own, so that it is never answered from memory. */
  readonly keys?: boolean;
}

export interface OpenLoopResult {
  readonly sent: number;
  /** By status. */
  readonly byStatus: Record<string, number>;
  /** Not answered within 5 s after the last was due. */
  readonly unanswered: number;
  /** Replies of 2xx that came while the plan was on, those to requests of the warm-up among them. */
  readonly inTime: number;
  /** ms from the first request to the last reply. */
  readonly elapsedMs: number;
  /** ms from when a request was due, of the replies of 2xx. */
  readonly acceptedMs: Latency;
  /** The same of all that was planned: what was refused or not answered counts as the longest that is waited. */
  readonly plannedMs: Latency;
  /** ms that the plan ran late by at most: what the generator itself adds. */
  readonly lateMs: { readonly p50: number; readonly p99: number };
  /** CPU time of the generator for these requests. */
  readonly cpuMs: number;
}

interface Latency {
  readonly p50: number;
  readonly p99: number;
}

const body = '{"quantity":1}';
const DRAIN_MS = 5_000;

/** A connection that sends one request at a time; what is due meanwhile waits in front of it. */
class Line {
  readonly socket: Socket;
  busy = false;
  #buffer = '';
  #due = 0;
  readonly #done: (line: Line, status: string, dueAt: number) => void;

  constructor(port: number, host: string, done: (line: Line, status: string, dueAt: number) => void) {
    this.#done = done;
    this.socket = connect({ port, host, noDelay: true });
    this.socket.setEncoding('latin1');
    this.socket.on('data', (text) => this.#read(String(text)));
  }

  send(text: string, dueAt: number): void {
    this.busy = true;
    this.#due = dueAt;
    this.socket.write(text, 'latin1');
  }

  #read(text: string): void {
    this.#buffer = this.#buffer === '' ? text : this.#buffer + text;
    const head = this.#buffer.indexOf('\r\n\r\n');
    if (head < 0) return;
    const length = /\r\ncontent-length: (\d+)/i.exec(this.#buffer.slice(0, head))?.[1];
    if (this.#buffer.length < head + 4 + Number(length)) return;
    const status = this.#buffer.slice(9, 12);
    this.#buffer = '';
    this.busy = false;
    this.#done(this, status, this.#due);
  }
}

function percentile(sorted: Float64Array, part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0;
}

async function play(plan: OpenLoopPlan): Promise<OpenLoopResult> {
  const target = new URL(plan.url);
  const warmUp = plan.rate === null ? 0 : Math.floor(plan.rate * (plan.warmUpSeconds ?? 0));
  const total = plan.rate === null ? (plan.count ?? 0) : warmUp + Math.floor(plan.rate * plan.seconds);
  const latencies: number[] = [];
  const lateness: number[] = [];
  const byStatus: Record<string, number> = {};
  const idle: Line[] = [];
  /** Due times of requests for which no connection is free. */
  const waiting: number[] = [];
  let nextWaiting = 0;
  let answered = 0;
  let answeredOfPlan = 0;
  let sent = 0;
  let inTime = 0;
  let lastReplyAt = 0;
  let startedAt = 0;
  /** From then on it counts. */
  let measuredFrom = 0;
  const heads = [plan.path]
    .flat()
    .map(
      (path) =>
        `POST ${path} HTTP/1.1\r\nHost: ${target.host}\r\nContent-Type: application/json\r\n` +
        `Content-Length: ${body.length}\r\nX-User-ID: ${plan.run}-`,
    );

  function send(line: Line, dueAt: number): void {
    const head = plan.oneByOne ? Math.floor((sent * heads.length) / total) : sent % heads.length;
    sent += 1;
    const key = plan.keys ? `\r\nIdempotency-Key: "${plan.run}-${sent}"` : '';
    line.send(`${heads[head]}${sent}${key}\r\n\r\n${body}`, dueAt);
  }
  function done(line: Line, status: string, dueAt: number): void {
    answered += 1;
    lastReplyAt = performance.now();
    if (dueAt >= measuredFrom) {
      answeredOfPlan += 1;
      byStatus[status] = (byStatus[status] ?? 0) + 1;
      if (status.startsWith('2')) latencies.push(lastReplyAt - dueAt);
    }
    // Of those that were asked for earlier, too: they wait while these are asked for.
    const inPlan = lastReplyAt >= measuredFrom && lastReplyAt - measuredFrom <= plan.seconds * 1_000;
    if (plan.rate !== null && status.startsWith('2') && inPlan) inTime += 1;
    const due = waiting[nextWaiting];
    if (due === undefined) {
      idle.push(line);
      return;
    }
    nextWaiting += 1;
    send(line, plan.rate === null ? performance.now() : due);
  }
  const lines = Array.from({ length: plan.connections }, () => new Line(Number(target.port), target.hostname, done));
  await Promise.all(lines.map((line) => new Promise((resolve) => line.socket.once('connect', resolve))));
  idle.push(...lines);

  startedAt = performance.now();
  const gapMs = plan.rate === null ? 0 : 1_000 / plan.rate;
  measuredFrom = startedAt + (warmUp - 0.5) * gapMs;
  const cpuBefore = process.cpuUsage();
  let planned = 0;
  await new Promise<void>((resolve) => {
    const turn = (): void => {
      const at = performance.now();
      while (planned < total) {
        const dueAt = startedAt + planned * gapMs;
        if (dueAt > at) break;
        planned += 1;
        if (dueAt >= measuredFrom) lateness.push(at - dueAt);
        const line = idle.pop();
        if (line) send(line, dueAt);
        else waiting.push(dueAt);
      }
      if (planned >= total && (answered >= total || at - measuredFrom > plan.seconds * 1_000 + DRAIN_MS)) {
        resolve();
        return;
      }
      // A timer of a millisecond: a busy loop would take the core from what is measured.
      setTimeout(turn, 1);
    };
    turn();
  });
  for (const line of lines) line.socket.destroy();
  const { user, system } = process.cpuUsage(cpuBefore);
  const ofPlan = [...latencies, ...Array<number>(total - warmUp - latencies.length).fill(DRAIN_MS)];
  const late = Float64Array.from(lateness).sort();
  return {
    sent: sent - warmUp,
    byStatus,
    unanswered: total - warmUp - answeredOfPlan,
    inTime,
    elapsedMs: lastReplyAt - measuredFrom,
    acceptedMs: latencyOf(latencies),
    plannedMs: latencyOf(ofPlan),
    lateMs: { p50: percentile(late, 0.5), p99: percentile(late, 0.99) },
    cpuMs: ((user + system) * (total - warmUp)) / total / 1_000,
  };
}

function latencyOf(values: readonly number[]): Latency {
  const sorted = Float64Array.from(values).sort();
  return { p50: percentile(sorted, 0.5), p99: percentile(sorted, 0.99) };
}

/** Plays the plan in a process of its own, so that it is timed by nobody else's event loop. */
export async function openLoop(plan: OpenLoopPlan): Promise<OpenLoopResult> {
  const file = fileURLToPath(import.meta.url);
  // One thread for V8's own work: with one for each core its garbage collection takes all of them from what is measured.
  const { stdout } = await promisify(execFile)(process.execPath, ['--v8-pool-size=1', file, JSON.stringify(plan)]);
  return JSON.parse(stdout) as OpenLoopResult;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const result = await play(JSON.parse(process.argv[2] ?? '') as OpenLoopPlan);
  process.stdout.write(`${JSON.stringify(result)}\n`);
  process.exit(0);
}
