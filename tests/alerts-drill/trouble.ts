import type { WatchedSystem } from './watched-system.ts';

/** Something that goes wrong for real, and the alerts that must say so. */
export interface Trouble {
  readonly alerts: readonly string[];
  /** For people: what is done to the system. */
  readonly what: string;
  /** Where orders that are under way would hide it. */
  readonly withoutCrowd?: true;
  /**
   * Makes it.
   *
   * @returns what undoes it
   * @throws with a sentence where this machine does not let it be made; then nothing is left of it
   */
  make(system: WatchedSystem): Promise<() => Promise<unknown> | unknown>;
}
