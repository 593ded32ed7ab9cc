/**
 * How looks become a judgement. What is wrong stays wrong: a suspicion becomes a break once a number of looks in a row have had it, with a
 * difference that did not shrink. What is merely on its way comes and goes with the orders, by other amounts. (A leak that runs on grows.)
 * A look that cannot tell an answer neither clears a suspicion nor counts for it, and leaves a question open that it was the first to ask.
 */
import type { Suspect } from './audit-report.ts';

/** What one look says. A question that is in neither was answered: all is well there. */
export interface Said {
  readonly suspects: readonly Suspect[];
  /** Questions that this look could not answer: what was compared may lie on either side of its instant. */
  readonly doubts: readonly string[];
}

interface Weighed {
  /** null: only doubted so far. */
  readonly suspect: Suspect | null;
  /** Looks in a row that had the suspicion; those that could not tell are left out. */
  readonly looks: number;
}

/** By question. What is not in it is well. */
export type Opinion = ReadonlyMap<string, Weighed>;

/** @param earlier null before the first look; from then on, what was well once stays out of it */
export function weigh(earlier: Opinion | null, { suspects, doubts }: Said): Opinion {
  const now = new Map<string, Weighed>();
  for (const one of suspects) {
    const before = earlier?.get(one.question);
    if (earlier && !before) continue;
    if (!before?.suspect) now.set(one.question, { suspect: one, looks: 1 });
    else if (mayPersist(before.suspect, one)) {
      now.set(one.question, {
        suspect: { ...one, least: farther(before.suspect.least, one.least) },
        looks: before.looks + 1,
      });
    }
  }
  for (const question of doubts) {
    if (!earlier) now.set(question, { suspect: null, looks: 0 });
    const before = earlier?.get(question);
    if (before) now.set(question, before);
  }
  return now;
}

/** Whether every question is answered. */
export function isDecided(opinion: Opinion, looks: number): boolean {
  return [...opinion.values()].every((weighed) => isBreak(weighed, looks));
}

export function breaksOf(opinion: Opinion, looks: number): Suspect[] {
  return [...opinion.values()].flatMap((weighed) =>
    weighed.suspect && isBreak(weighed, looks) ? [weighed.suspect] : [],
  );
}

function isBreak(weighed: Weighed, looks: number): boolean {
  return weighed.suspect !== null && weighed.looks >= looks;
}

/** The same sign, and what it is at most now is no less than what it was at least. */
function mayPersist(before: Suspect, now: Suspect): boolean {
  return Math.sign(before.most) === Math.sign(now.most) && Math.abs(now.most) >= Math.abs(before.least);
}

function farther(one: number, other: number): number {
  return Math.abs(one) > Math.abs(other) ? one : other;
}
