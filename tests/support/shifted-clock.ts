/**
 * Loaded with `node --import`: shifts this process's clock by CLOCK_SHIFT_MS. Each SIGUSR2 shifts
 * it by the next of CLOCK_STEPS_MS, with "," between them.
 */
let shiftMs = Number(process.env.CLOCK_SHIFT_MS ?? 0);
const steps = process.env.CLOCK_STEPS_MS?.split(',') ?? [];
const trueNow = Date.now;

Date.now = () => trueNow() + shiftMs;
globalThis.Date = new Proxy(Date, {
  construct: (target, args) => new target(...((args.length === 0 ? [target.now()] : args) as [number])),
});
process.on('SIGUSR2', () => {
  shiftMs += Number(steps.shift());
});
