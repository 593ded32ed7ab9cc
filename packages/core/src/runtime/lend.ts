/** Gives an object other members. @returns a function that restores its own */
export function lend<Target extends object>(target: Target, members: Partial<Target>): () => void {
  const own = Object.fromEntries(Object.keys(members).map((name) => [name, target[name as keyof Target]]));
  Object.assign(target, members);
  return () => void Object.assign(target, own);
}
