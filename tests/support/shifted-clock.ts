/** Loaded with `node --import`: shifts this process's clock by CLOCK_SHIFT_MS. */
const shiftMs = Number(process.env.CLOCK_SHIFT_MS);
const trueNow = Date.now;

Date.now = () => trueNow() + shiftMs;
globalThis.Date = new Proxy(Date, {
  construct: (target, args) => new target(...((args.length === 0 ? [target.now()] : args) as [number])),
});
