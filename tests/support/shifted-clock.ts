/**
 * Loaded with `node --import`: shifts this process's clock by CLOCK_SHIFT_MS, and by `clockStepMs`
 * of each message from its parent.
 */
let shiftMs = Number(process.env.CLOCK_SHIFT_MS ?? 0);
const trueNow = Date.now;

Date.now = () => trueNow() + shiftMs;
globalThis.Date = new Proxy(Date, {
  construct: (target, args) => new target(...((args.length === 0 ? [target.now()] : args) as [number])),
});
process.on('message', ({ clockStepMs = 0 }: { clockStepMs?: number }) => {
  shiftMs += clockStepMs;
});
