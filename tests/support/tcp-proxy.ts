/**
 * A TCP proxy with faults: slow, black-holed (bytes and ends are kept back), cut (RST to both
 * sides), refused (reset at once; the port stays ours), or half-open (one side is gone without FIN
 * or RST to the other).
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import type { World } from './world.ts';

/** As the process sees it: `up` carries what it sends to the server. */
export type Direction = 'up' | 'down';

/** Bytes that wait in one direction before the sender is made to wait. */
const WAITING_MAX = 1 << 20;

type Item = { readonly dueAt: number } & ({ readonly bytes: Buffer } | { readonly end: 'fin' | 'rst' });

/** One direction of one connection. */
class Lane {
  delayMs = 0;
  held = false;
  readonly #from: Socket;
  readonly #to: Socket;
  #items: Item[] = [];
  #waiting = 0;
  #timer: NodeJS.Timeout | undefined;
  #over = false;

  constructor(from: Socket, to: Socket) {
    this.#from = from;
    this.#to = to;
    from.on('data', (bytes: Buffer) => {
      this.#waiting += bytes.length;
      if (this.#waiting > WAITING_MAX) from.pause();
      this.#push({ dueAt: performance.now() + this.delayMs, bytes });
    });
    from.on('end', () => this.#push({ dueAt: performance.now() + this.delayMs, end: 'fin' }));
    from.on('close', (hadError) => {
      if (hadError) this.#push({ dueAt: performance.now() + this.delayMs, end: 'rst' });
    });
  }

  #push(item: Item): void {
    if (this.#over) return;
    this.#items.push(item);
    this.flow();
  }

  /** Sends on what is due. */
  flow(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.held || this.#over) return;
    const now = performance.now();
    let next = this.#items[0];
    while (next !== undefined && next.dueAt <= now) {
      this.#items.shift();
      this.#send(next);
      next = this.#items[0];
    }
    if (next !== undefined && !this.#over) this.#timer = setTimeout(() => this.flow(), Math.max(1, next.dueAt - now));
  }

  #send(item: Item): void {
    if ('end' in item) {
      if (item.end === 'rst') this.#to.resetAndDestroy();
      else this.#to.end();
      return;
    }
    this.#waiting -= item.bytes.length;
    if (this.#waiting <= WAITING_MAX && this.#from.isPaused()) this.#from.resume();
    if (!this.#to.destroyed && this.#to.writable) this.#to.write(item.bytes);
  }

  /** Discards what waits and what still arrives. */
  stop(): void {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#items = [];
    if (!this.#from.destroyed) this.#from.resume();
  }
}

interface Link {
  readonly near: Socket;
  readonly far: Socket;
  readonly lanes: Readonly<Record<Direction, Lane>>;
}

export class TcpProxy {
  readonly #links = new Set<Link>();
  /** Sides left open when the other one vanished. */
  readonly #orphans = new Map<Socket, 'near' | 'far'>();
  readonly #delayMs: Record<Direction, number> = { up: 0, down: 0 };
  readonly #held: Record<Direction, boolean> = { up: false, down: false };
  readonly #server = createServer({ allowHalfOpen: true }, (near) => this.#accept(near));
  #refuses = false;
  /** Where the server listens, on the loopback. */
  targetPort: number;

  private constructor(targetPort: number) {
    this.targetPort = targetPort;
  }

  static async listen(targetPort: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(targetPort);
    proxy.#server.listen({ port: 0, host: '127.0.0.1' });
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  #accept(near: Socket): void {
    if (this.#refuses) {
      near.on('error', () => {}).resetAndDestroy();
      return;
    }
    const far = connect({ port: this.targetPort, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    near.setNoDelay(true);
    const lanes = { up: new Lane(near, far), down: new Lane(far, near) };
    for (const direction of ['up', 'down'] as const) {
      lanes[direction].delayMs = this.#delayMs[direction];
      lanes[direction].held = this.#held[direction];
    }
    const link: Link = { near, far, lanes };
    this.#links.add(link);
    for (const socket of [near, far]) {
      socket.on('error', () => {});
      socket.on('close', () => {
        if (near.destroyed && far.destroyed) this.#links.delete(link);
      });
    }
  }

  /** Each chunk arrives this much later; 0 ends it. */
  delay(direction: Direction, delayMs: number): void {
    this.#delayMs[direction] = delayMs;
    for (const link of this.#links) link.lanes[direction].delayMs = delayMs;
  }

  /** Black hole: accepts bytes and passes on none, also on new connections. */
  hold(direction: Direction): void {
    this.#held[direction] = true;
    for (const link of this.#links) link.lanes[direction].held = true;
  }

  /** Held bytes arrive now, in order. */
  release(direction: Direction): void {
    this.#held[direction] = false;
    for (const link of this.#links) {
      link.lanes[direction].held = false;
      link.lanes[direction].flow();
    }
  }

  /** Ends every connection with RST on both sides; what was on its way is lost. */
  cut(): void {
    for (const { near, far, lanes } of this.#links) {
      lanes.up.stop();
      lanes.down.stop();
      near.resetAndDestroy();
      far.resetAndDestroy();
    }
    this.#links.clear();
    this.forgetOrphans();
  }

  /**
   * Half-open: every connection loses one side, and the other does not notice. New ones work.
   *
   * @param stays near: the process believes in its connection; far: the server does
   */
  orphan(stays: 'near' | 'far'): void {
    for (const { near, far, lanes } of this.#links) {
      lanes.up.stop();
      lanes.down.stop();
      const [left, gone] = stays === 'near' ? [near, far] : [far, near];
      gone.resetAndDestroy();
      if (left.destroyed) continue;
      this.#orphans.set(left, stays);
      left.on('end', () => left.destroy());
      left.on('close', () => this.#orphans.delete(left));
    }
    this.#links.clear();
  }

  /** Connections that the process believes in and that are gone. */
  get orphans(): number {
    return [...this.#orphans.values()].filter((side) => side === 'near').length;
  }

  forgetOrphans(): void {
    for (const socket of this.#orphans.keys()) socket.resetAndDestroy();
    this.#orphans.clear();
  }

  get connections(): number {
    return this.#links.size;
  }

  /** New connections are reset, existing ones cut. */
  refuse(): void {
    this.#refuses = true;
    this.cut();
  }

  accept(): void {
    this.#refuses = false;
  }

  /** Ends every fault. */
  heal(): void {
    for (const direction of ['up', 'down'] as const) {
      this.delay(direction, 0);
      this.release(direction);
    }
    this.forgetOrphans();
    this.accept();
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.refuse();
    await closed;
  }
}

/** A proxy that is closed with the world. @returns it, and the server's address through it */
export async function proxyBefore(world: World, serverUrl: string): Promise<{ proxy: TcpProxy; url: string }> {
  const url = new URL(serverUrl);
  const proxy = await TcpProxy.listen(Number(url.port));
  world.onClose(() => proxy.close());
  url.host = `127.0.0.1:${proxy.port}`;
  return { proxy, url: url.href };
}
