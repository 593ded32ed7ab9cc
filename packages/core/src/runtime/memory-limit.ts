import { totalmem } from 'node:os';

/** @returns bytes that a process may use. A container's bound, where there is one, is below the machine's memory. */
export function memoryLimit(): number {
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}
