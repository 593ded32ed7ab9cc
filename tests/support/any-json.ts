/** A reply whose fields a test reads one by one. */
// biome-ignore lint/suspicious/noExplicitAny: the one place where a reply's form is left open; the contract is what is tested
export type AnyJson = any;
