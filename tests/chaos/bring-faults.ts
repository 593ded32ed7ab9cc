/**
 * Brings the planned faults over the parts, and tells the weather when each began and when the part worked again. A fault whose target is
 * already down waits for it, or is left out.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { FaultKind, PlannedFault } from './faults.ts';
import type { Parts } from './parts.ts';
import type { TcpProxy } from './tcp-proxy.ts';
import type { Weather } from './weather.ts';

/** Milliseconds that a fault waits for a target on which another one is. */
const WAITS_FOR_TARGET_MS = 4_000;

/** Milliseconds that a server has to come back; its own starting looks that long, too. */
const SERVER_BACK_WITHIN_MS = 60_000;

export class FaultBringer {
  readonly counts = new Map<string, number>();
  /** One line for each thing that was done. */
  readonly lines: string[] = [];
  skipped = 0;
  readonly #parts: Parts;
  readonly #weather: Weather;
  readonly #busy = new Set<string>();
  readonly #underWay = new Set<Promise<void>>();
  readonly #origin: number;
  /** Raised: whatever lasts ends now. */
  readonly #over: AbortSignal;

  constructor(parts: Parts, weather: Weather, origin: number, over: AbortSignal) {
    this.#parts = parts;
    this.#weather = weather;
    this.#origin = origin;
    this.#over = over;
  }

  /** SIGKILLs of any part. */
  get kills(): number {
    return [...this.counts].reduce((sum, [what, count]) => sum + (what.startsWith('kill of ') ? count : 0), 0);
  }

  get total(): number {
    return [...this.counts.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Each at its time. @throws where a part does not come back */
  async run(faults: readonly PlannedFault[]): Promise<void> {
    const failed: unknown[] = [];
    for (const fault of faults) {
      await this.#pause(this.#origin + fault.at - performance.now());
      if (this.#over.aborted || failed.length > 0) break;
      const bringing = this.#bring(fault).catch((error: unknown) => void failed.push(error));
      this.#underWay.add(bringing);
      void bringing.finally(() => this.#underWay.delete(bringing));
    }
    await Promise.all(this.#underWay);
    if (failed.length > 0) throw failed[0];
  }

  async #bring(fault: PlannedFault): Promise<void> {
    const until = performance.now() + WAITS_FOR_TARGET_MS;
    while (this.#busy.has(fault.target)) {
      if (performance.now() > until || this.#over.aborted) {
        this.skipped += 1;
        return;
      }
      await this.#pause(50);
    }
    this.#busy.add(fault.target);
    try {
      await this.#carryOut(fault);
    } finally {
      this.#busy.delete(fault.target);
    }
  }

  async #carryOut(fault: PlannedFault): Promise<void> {
    const { kind, target, lastsMs } = fault;
    switch (kind) {
      case 'kill':
        return target === 'redis' || target === 'postgres'
          ? this.#killServer(target, lastsMs)
          : this.#kill(target, lastsMs);
      case 'stop':
        return this.#stop(target, lastsMs);
      case 'stop_redis': {
        const end = this.#begin('redis', kind, `for ${seconds(lastsMs)}`);
        this.#parts.freezeRedis();
        await this.#pause(lastsMs);
        this.#parts.thawRedis();
        return end();
      }
      case 'restart_redis': {
        const end = this.#begin('redis', kind, `down ${seconds(lastsMs)}`);
        await this.#parts.shutDownRedis();
        await this.#pause(lastsMs);
        await this.#startServer('redis');
        return end();
      }
      case 'lose_redis':
        return this.#tellRedis(kind, 'FLUSHALL');
      case 'flush_scripts':
        return this.#tellRedis(kind, 'SCRIPT', 'FLUSH');
      case 'kill_clients':
        return this.#tellRedis(kind, 'CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      case 'end_backends':
        return this.#endBackends();
      default:
        return this.#hitWay(fault, this.#way(target));
    }
  }

  async #kill(target: string, lastsMs: number): Promise<void> {
    const part = this.#part(target);
    const end = this.#begin(target, 'kill', `down ${seconds(lastsMs)}`);
    await part.kill();
    await this.#pause(lastsMs);
    await part.start();
    end();
  }

  async #killServer(target: 'redis' | 'postgres', lastsMs: number): Promise<void> {
    const end = this.#begin(target, 'kill', `down ${seconds(lastsMs)}`);
    await this.#parts.killServer(target);
    await this.#pause(lastsMs);
    await this.#startServer(target);
    end();
  }

  async #startServer(target: 'redis' | 'postgres'): Promise<void> {
    const late = AbortSignal.timeout(SERVER_BACK_WITHIN_MS);
    if (target === 'redis') this.#weather.redisStarts.push(performance.now());
    await this.#parts.startServer(target);
    if (late.aborted) throw new Error(`${target} took longer than ${SERVER_BACK_WITHIN_MS} ms to come back`);
  }

  async #stop(target: string, lastsMs: number): Promise<void> {
    const part = this.#part(target);
    const end = this.#begin(target, 'stop', `for ${seconds(lastsMs)}`);
    part.freeze();
    await this.#pause(lastsMs);
    part.thaw();
    end();
  }

  async #tellRedis(kind: FaultKind, ...command: [string, ...string[]]): Promise<void> {
    const end = this.#begin('redis', kind, '');
    await this.#parts.askRedis(...command).catch(() => {
      // It is away just now: then there is nothing to throw away.
    });
    end();
  }

  async #endBackends(): Promise<void> {
    const end = this.#begin('postgres', 'end_backends', '');
    const client = new pg.Client({
      connectionString: this.#parts.server('postgres').url,
      connectionTimeoutMillis: 2_000,
    });
    client.on('error', () => {});
    try {
      await client.connect();
      await client.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE datname = current_database() AND pid <> pg_backend_pid()`,
      );
    } catch {
      // It is away just now.
    } finally {
      await client.end().catch(() => {});
    }
    end();
  }

  async #hitWay(fault: PlannedFault, way: TcpProxy): Promise<void> {
    const { kind, target, lastsMs, direction = 'both', delayMs = 0, ending, stays = 'near' } = fault;
    const directions = direction === 'both' ? (['up', 'down'] as const) : ([direction] as const);
    if (kind === 'delay') {
      const end = this.#begin(target, kind, `${delayMs.toFixed(0)} ms ${direction} for ${seconds(lastsMs)}`);
      for (const each of directions) way.delay(each, delayMs);
      await this.#pause(lastsMs);
      for (const each of directions) way.delay(each, 0);
      end();
    } else if (kind === 'hold') {
      const end = this.#begin(target, kind, `${direction} for ${seconds(lastsMs)}, then ${ending}`);
      for (const each of directions) way.hold(each);
      await this.#pause(lastsMs);
      if (ending === 'cut') way.cut();
      for (const each of directions) way.release(each);
      end();
    } else if (kind === 'refuse') {
      const end = this.#begin(target, kind, `for ${seconds(lastsMs)}`);
      await way.refuse();
      await this.#pause(lastsMs);
      await way.accept();
      end();
    } else if (kind === 'orphan') {
      const end = this.#begin(target, kind, `${way.connections} connections, ${stays} side stays`);
      way.orphan(stays);
      // It lasts until the process has found out; others may hit this way meanwhile. Where the server was not told, the process was.
      const waiting = this.#untilNoOrphans(way).then(end);
      this.#underWay.add(waiting);
      void waiting.finally(() => this.#underWay.delete(waiting));
    } else {
      const end = this.#begin(target, kind, `${way.connections} connections`);
      way.cut();
      end();
    }
  }

  async #untilNoOrphans(way: TcpProxy): Promise<void> {
    while (way.orphans > 0 && !this.#over.aborted) await this.#pause(100);
  }

  #begin(part: string, kind: FaultKind, how: string): () => void {
    const now = performance.now();
    const what = `${kind} of ${/>|\d/.test(part) ? part.replaceAll(/-\d+/g, '') : part}`;
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
    const end = this.#weather.begin(part, kind === 'restart_redis' ? 'restart' : kind, now);
    this.#say(`${kind} ${part} ${how}`);
    return () => {
      end(performance.now());
      if (performance.now() - now > 500) this.#say(`${kind} ${part} is over`);
    };
  }

  #say(line: string): void {
    const now = performance.now();
    this.lines.push(
      `${new Date().toISOString()} ${seconds(now - this.#origin)} (clock ${(now / 1_000).toFixed(3)}) ${line}`,
    );
  }

  #part(name: string) {
    const part = this.#parts.processes.get(name);
    if (!part) throw new Error(`there is no ${name}`);
    return part;
  }

  #way(name: string): TcpProxy {
    const way = this.#parts.ways.get(name);
    if (!way) throw new Error(`there is no way ${name}`);
    return way;
  }

  async #pause(ms: number): Promise<void> {
    if (ms > 0) await sleep(ms, undefined, { signal: this.#over }).catch(() => {});
  }
}

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(2)} s`;
