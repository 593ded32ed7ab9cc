/**
 * The load generator of the bench, a process of its own. Two modes:
 *   closed loop (no rate): each connection sends its next request as soon as the last one is
 *   answered. open loop (rate): requests have a schedule, and their latency is measured from their
 *   due time, so that a stall counts for every request that it delays (no coordinated omission).
 *
 * autocannon has only a closed loop and needs twice the CPU per request (53–65 µs; this: 24–32, the
 * bare server: 33), so on a shared machine it would determine the ratio. The HTTP parser supports
 * only what these servers send: one reply at a time per connection, with a Content-Length.
 *
 *   node scripts/bench/generator.ts '<plan as JSON>'
 */
import { execFile } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

export interface Plan {
  /** http://127.0.0.1:port */
  readonly url: string;
  readonly saleId: string;
  readonly connections: number;
  /** Prefix of buyer ids. Two runs of the same name have the same buyers. */
  readonly run: string;
  /** Requests a second; without it a closed loop. */
  readonly rate?: number;
  /**
   * The closed loop ends after `seconds` or `count` requests, whichever comes first. The open loop
   * lasts `seconds`.
   */
  readonly seconds: number;
  readonly count?: number;
  /** Seconds of the open loop before the measurement starts. */
  readonly warmUpSeconds?: number;
  /** Number of buyers, used in turn; default: a new buyer for each request. */
  readonly buyers?: number;
  /** Sends an Idempotency-Key, the same for each request of a buyer. */
  readonly keys?: boolean;
  /** Milliseconds; with it the result has slices. */
  readonly sliceMs?: number;
}

export interface Result {
  /** Measured requests. */
  readonly sent: number;
  /** Replies by "200" or the problem's code. */
  readonly replies: Record<string, number>;
  readonly unanswered: number;
  /** From the first measured request to the last reply. */
  readonly seconds: number;
  /**
   * Percentiles in ms. Open loop: from when a request was due; a refused or unanswered one counts
   * as DRAIN_MS.
   */
  readonly p50: number;
  readonly p99: number;
  /** Latencies (ms) of the replies with 200, by the slice of time in which requests were sent. */
  readonly slices: readonly (readonly number[])[];
}

const BODY = '{"quantity":1}';
/** How long to wait for replies after the last request. */
const DRAIN_MS = 5_000;
/** Bytes of a result with slices. */
const RESULT_MAX = 64 * 2 ** 20;

/** In ms, of latencies in ms; 0 of none. */
export function percentiles(latencies: readonly number[]): { p50: number; p99: number } {
  const sorted = Float64Array.from(latencies).sort();
  const at = (part: number): number => sorted[Math.floor(part * sorted.length)] ?? 0;
  return { p50: at(0.5), p99: at(0.99) };
}

/** Sends one request at a time. */
class Connection {
  readonly socket: Socket;
  #buffer = '';
  #dueAt = 0;

  constructor(target: URL, onReply: (connection: Connection, reply: string, dueAt: number) => void) {
    this.socket = connect({ port: Number(target.port), host: target.hostname, noDelay: true });
    this.socket.setEncoding('latin1');
    this.socket.on('data', (text) => {
      this.#buffer += String(text);
      const head = this.#buffer.indexOf('\r\n\r\n');
      if (head < 0) return;
      const length = /\r\ncontent-length: (\d+)/i.exec(this.#buffer.slice(0, head))?.[1];
      if (this.#buffer.length < head + 4 + Number(length)) return;
      const status = this.#buffer.slice(9, 12);
      const reply = status === '200' ? status : (/"code":"(\w+)"/.exec(this.#buffer)?.[1] ?? status);
      this.#buffer = '';
      onReply(this, reply, this.#dueAt);
    });
  }

  send(text: string, dueAt: number): void {
    this.#dueAt = dueAt;
    this.socket.write(text, 'latin1');
  }
}

class Generator {
  readonly #plan: Plan;
  readonly #head: string;
  readonly #idle: Connection[] = [];
  /** Due times of requests that wait for a free connection. */
  readonly #waiting: number[] = [];
  #nextWaiting = 0;
  #sent = 0;
  #answered = 0;
  #measuredFrom = 0;
  #lastReplyAt = 0;
  readonly #replies: Record<string, number> = {};
  readonly #latencies: number[] = [];
  readonly #slices: number[][] = [];

  constructor(plan: Plan) {
    this.#plan = plan;
    this.#head =
      `POST /api/flash-sales/${plan.saleId}/order HTTP/1.1\r\nHost: ${new URL(plan.url).host}\r\n` +
      `Content-Type: application/json\r\nContent-Length: ${BODY.length}\r\nX-User-ID: ${plan.run}-`;
  }

  async play(): Promise<Result> {
    const { url, connections, rate } = this.#plan;
    const target = new URL(url);
    const opened = Array.from({ length: connections }, () => new Connection(target, this.#onReply));
    await Promise.all(opened.map(({ socket }) => new Promise((resolve) => socket.once('connect', resolve))));
    this.#idle.push(...opened);
    const warmUp = rate === undefined ? 0 : Math.floor(rate * (this.#plan.warmUpSeconds ?? 0));
    await (rate === undefined ? this.#closedLoop() : this.#openLoop(rate, warmUp));
    for (const { socket } of opened) socket.destroy();
    const measured = this.#sent + this.#waiting.length - this.#nextWaiting - warmUp;
    // In an open loop, what was refused or never answered is as bad as the slowest reply.
    const failed = rate === undefined ? 0 : measured - this.#latencies.length;
    return {
      sent: measured,
      replies: this.#replies,
      unanswered: measured - Object.values(this.#replies).reduce((sum, count) => sum + count, 0),
      seconds: (this.#lastReplyAt - this.#measuredFrom) / 1_000,
      ...percentiles([...this.#latencies, ...Array<number>(failed).fill(DRAIN_MS)]),
      slices: Array.from(this.#slices, (slice = []) => slice),
    };
  }

  readonly #onReply = (connection: Connection, reply: string, dueAt: number): void => {
    this.#answered += 1;
    this.#lastReplyAt = performance.now();
    if (dueAt >= this.#measuredFrom) {
      this.#replies[reply] = (this.#replies[reply] ?? 0) + 1;
      const latency = this.#lastReplyAt - dueAt;
      if (reply === '200' || this.#plan.rate === undefined) this.#latencies.push(latency);
      if (reply === '200' && this.#plan.sliceMs) {
        const slice = Math.floor((dueAt - this.#measuredFrom) / this.#plan.sliceMs);
        this.#slices[slice] ??= [];
        this.#slices[slice].push(latency);
      }
    }
    const due = this.#waiting[this.#nextWaiting];
    if (this.#plan.rate === undefined) this.#sendNext(connection);
    else if (due === undefined) this.#idle.push(connection);
    else {
      this.#nextWaiting += 1;
      this.#send(connection, due);
    }
  };

  #send(connection: Connection, dueAt: number): void {
    const { run, buyers, keys } = this.#plan;
    const buyer = buyers === undefined ? this.#sent : this.#sent % buyers;
    this.#sent += 1;
    const key = keys ? `\r\nIdempotency-Key: "${run}-${buyer}"` : '';
    connection.send(`${this.#head}${buyer}${key}\r\n\r\n${BODY}`, dueAt);
  }

  /** Closed loop: the next request of a connection, unless it is over. */
  #sendNext(connection: Connection): void {
    const now = performance.now();
    const { seconds, count = Infinity } = this.#plan;
    if (this.#sent < count && now - this.#measuredFrom < seconds * 1_000) this.#send(connection, now);
  }

  async #closedLoop(): Promise<void> {
    this.#measuredFrom = performance.now();
    for (const connection of this.#idle) this.#sendNext(connection);
    while (this.#answered < this.#sent) {
      if (performance.now() - this.#measuredFrom > this.#plan.seconds * 1_000 + DRAIN_MS) return;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  async #openLoop(rate: number, warmUp: number): Promise<void> {
    const total = warmUp + Math.floor(rate * this.#plan.seconds);
    const startedAt = performance.now();
    const gapMs = 1_000 / rate;
    this.#measuredFrom = startedAt + (warmUp - 0.5) * gapMs;
    for (let planned = 0; planned < total || this.#answered < total; ) {
      const now = performance.now();
      for (; planned < total && startedAt + planned * gapMs <= now; planned++) {
        const dueAt = startedAt + planned * gapMs;
        const connection = this.#idle.pop();
        if (connection) this.#send(connection, dueAt);
        else this.#waiting.push(dueAt);
      }
      if (planned === total && now - this.#measuredFrom > this.#plan.seconds * 1_000 + DRAIN_MS) return;
      // A timer of 1 ms: a busy loop would take the core from what is measured.
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
}

/** Runs the plan in a separate process, so that no other event loop delays it. */
export async function generate(plan: Plan): Promise<Result> {
  // One V8 thread: its garbage collection would otherwise use every core.
  const args = ['--v8-pool-size=1', fileURLToPath(import.meta.url), JSON.stringify(plan)];
  const { stdout } = await promisify(execFile)(process.execPath, args, { maxBuffer: RESULT_MAX });
  return JSON.parse(stdout) as Result;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const result = await new Generator(JSON.parse(process.argv[2] ?? '') as Plan).play();
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
}
