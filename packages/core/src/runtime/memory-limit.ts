import { totalmem } from 'node:os';

/** @returns bytes that this process may use: the container's limit, or the machine's memory */
export function memoryLimit(): number {
  return Math.min(process.constrainedMemory() || totalmem(), totalmem());
}
