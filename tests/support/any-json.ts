/** A reply of any form, looked into field by field by the test that got it. */
// biome-ignore lint/suspicious/noExplicitAny: the one place where a reply's form is left open; the contract is what is tested
export type AnyJson = any;
