/** From where on the doctor warns. Bounds of the system itself stand in limits.ts. */

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

/** Milliseconds that a server has to tell everything about itself, for a person who waits. */
export const LOOK_MS = 5_000;

/** The same as a process starts: it is not to be late for that. */
export const LOOK_AT_START_MS = 1_500;

/** Round trips to Redis that are measured: enough for a median; and as a process starts. */
export const ROUND_TRIPS = 25;
export const ROUND_TRIPS_AT_START = 5;

/** Milliseconds of a round trip. An order makes two or three of them one after the other; in one room they take well under one. */
export const ROUND_TRIP_MEDIAN_MS = 5;

/** Milliseconds of the longest round trip of a handful: beyond it something holds Redis or the line. */
export const ROUND_TRIP_WORST_MS = 250;

/** Milliseconds of one command. Redis does one at a time, so that every order waits for it; our own take one or two. */
export const COMMAND_MS = 100;

/** Milliseconds for which the past counts. */
export const PAST_MS = 3_600_000;

/** Milliseconds that two clocks may differ. People compare a sale's beginning with their own clock, by the second. */
export const CLOCK_MS = 1_000;

/** Milliseconds from which on nobody keeps these clocks. */
export const CLOCK_ASTRAY_MS = 30_000;

/** Characters that a secret has at least, different ones: a word that is repeated has fewer. */
export const SECRET_CHARACTERS_MIN = 6;

/** Fields up to which Redis may search a hash from end to end: twice as many as our own does, a quarter of its default. */
export const SMALL_HASH_MAX = 128;

/** Bytes of the append-only file below which Redis should not write it anew: a million orders. */
export const AOF_REWRITE_MIN_BYTES = 256 * MIB;

/** Part of its memory that Redis should have left before a sale begins. */
export const MEMORY_LEFT_PART = 0.2;

/** Bytes of Redis for an order that waits for the ledger: reservation and its part of a job (docs/reference.md). */
export const ORDER_BYTES = 500;

/** Bytes of a disk: a process' logs grow up to 1 GB, the append-only file by 540 bytes an order. */
export const DISK_LEFT_BYTES = 5 * GIB;

/** Bytes below which it may be full within one sale. */
export const DISK_FULL_BYTES = GIB;

/** Files that an API process opens besides the connections of the crowd: servers, logs, Node's own, and room. */
export const FILES_OF_ITS_OWN = 200;

/** Connections to PostgreSQL for what comes and goes: migrations, the audit, the doctor, a person. */
export const CONNECTIONS_OF_COMMANDS = 5;

/** Oldest Node that runs the services: the first one with long-term support that strips types without a flag or a warning. */
export const NODE_MAJOR_MIN = 24;
