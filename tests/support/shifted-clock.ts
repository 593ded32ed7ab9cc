/** Loaded before a main (`node --import`): this process believes in another time, CLOCK_SHIFT_MS later than it is. */
const shiftMs = Number(process.env.CLOCK_SHIFT_MS);
const trueNow = Date.now;

Date.now = () => trueNow() + shiftMs;
globalThis.Date = new Proxy(Date, {
  construct: (target, args) => new target(...((args.length === 0 ? [target.now()] : args) as [number])),
});
