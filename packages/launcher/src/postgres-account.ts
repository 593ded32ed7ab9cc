/**
 * As whom PostgreSQL is run. It refuses to run as root, so root hands it to an account that exists already; no account is
 * ever made.
 */
import { chownSync, existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { type CommandOptions, type CommandResult, type RunCommand, runCommand } from './run-command.ts';

export interface PostgresAccount {
  /** For people and errors. */
  readonly name: string;
  /** What goes in front of a command line, for accounts that need it. */
  readonly prefix: readonly string[];
  /** What spawn is given. */
  readonly identity: { readonly uid?: number; readonly gid?: number };
  /** Runs one of PostgreSQL's programs to its end. */
  run(command: string, args: readonly string[], options?: CommandOptions): Promise<CommandResult>;
}

interface Passwd {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/**
 * Makes sure that `folder` exists and belongs to the account that will run `program` on it.
 *
 * @throws Error with a sentence when root has no account that can
 */
export async function postgresAccount(folder: string, program: string, run = runCommand): Promise<PostgresAccount> {
  if (process.getuid?.() !== 0) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    return account('you', [], {}, run);
  }
  const { name, uid, gid } = chooseUser(folder, readFileSync('/etc/passwd', 'utf8'));
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (statSync(folder).uid !== uid) chownSync(folder, uid, gid);
  const plain = account(name, [], { uid, gid }, run);
  const plainTry = await tryOut(plain, folder, program);
  if (plainTry === undefined) return plain;
  // A folder on the way, such as /root, is closed to others: the account is given the one right to pass through it (and the secure bit that makes access(2) know of it).
  const flags = [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups'];
  const passing = ['--inh-caps=+dac_read_search', '--ambient-caps=+dac_read_search', '--securebits=+no_setuid_fixup'];
  const capable = account(name, ['setpriv', ...flags, ...passing], {}, run);
  if ((await tryOut(capable, folder, program)) === undefined) return capable;
  throw new Error(
    `PostgreSQL does not run as root, and the account "${name}" cannot use ${folder} or ${program} (${plainTry}). ` +
      'Move the project to a folder that every account may enter (/srv, /opt), run it as another user, or set DATABASE_URL.',
  );
}

/** The owner of existing data, else "postgres", else "nobody". */
export function chooseUser(folder: string, passwdText: string): Passwd {
  const users = passwdText.split('\n').flatMap((line): Passwd[] => {
    const [name, , uid, gid] = line.split(':');
    return name && uid && gid ? [{ name, uid: Number(uid), gid: Number(gid) }] : [];
  });
  const owner = existsSync(folder) ? statSync(folder).uid : 0;
  const chosen =
    (owner !== 0 && users.find((user) => user.uid === owner)) ||
    users.find((user) => user.name === 'postgres') ||
    users.find((user) => user.name === 'nobody');
  if (chosen) return chosen;
  throw new Error(
    'PostgreSQL does not run as root, and this system has neither a "postgres" nor a "nobody" account to run it as. ' +
      'Run "npm start" as another user, or set DATABASE_URL.',
  );
}

/** @returns undefined when it can work in the folder and run the program, else what went wrong */
async function tryOut(account: PostgresAccount, folder: string, program: string): Promise<string | undefined> {
  const script = 'cd "$1" && test -w . && exec "$2" --version';
  const { code, stderr } = await account.run('/bin/sh', ['-c', script, 'sh', folder, program], { cwd: '/' });
  return code === 0 ? undefined : stderr.trim().split('\n').at(-1) || `exit code ${code}`;
}

function account(
  name: string,
  prefix: readonly string[],
  identity: PostgresAccount['identity'],
  run: RunCommand,
): PostgresAccount {
  return {
    name,
    prefix,
    identity,
    run: (command, args, options = {}) => {
      const [program = command, ...rest] = [...prefix, command, ...args];
      return run(program, rest, { ...options, ...identity });
    },
  };
}
