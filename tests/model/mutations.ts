/**
 * Guards of the scripts, each with the text that removes it: inventory-model-mutations.test.ts
 * applies one at a time. Each text must stand in its script, includes and all, exactly once, or the
 * test fails.
 */

export interface Mutation {
  readonly script: string;
  /** The guard that is removed. */
  readonly without: string;
  readonly text: string;
  readonly becomes: string;
}

/** A guard, the text that has it, and the text without it ('' = nothing). */
type Guard = readonly [without: string, text: string, becomes?: string];

const of = (script: string, ...guards: readonly Guard[]): Mutation[] =>
  guards.map(([without, text, becomes = '']) => ({ script, without, text, becomes }));

const never = (without: string, condition: string): Guard => [without, condition, 'if false then'];
const neverElse = (without: string, condition: string): Guard => [without, condition, 'elseif false then'];

/**
 * Of scripts that need an open inventory: one that is closed, and one of another Redis instance.
 */
const needsOpen = (found = 'inventory[1]'): Guard[] => [
  ['an open inventory', `${found} ~= instance_id`, `${found} ~= '' and ${found} ~= instance_id`],
  ['this Redis instance', `${found} ~= instance_id`, `${found} == ''`],
];

/** Of scripts that write only in the caller's epoch. */
const needsEpoch: readonly Guard[] = [
  ['the epoch of the caller', ' or inventory[2] ~= ARGV[1]'],
  ['this Redis instance', 'inventory[1] ~= instance_id or', "inventory[1] == '' or"],
];

const includes = [
  ...of(
    'create-inventory',
    ['the process in the instance id', "string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')", "'0'"],
    ['the data in the instance id', "string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')", "'0'"],
  ),
  ...of('release', ['the length of the key', 'tonumber(length) + 1', '1']),
  ...of('claim-orphans', ['the time of the reservation', ', tonumber(reserved_at)', ', 0']),
];

const reserve = of(
  'reserve',
  ...needsOpen('inventory[7]'),
  neverElse('sold out', 'elseif available == 0 then'),
  neverElse('enough units', 'elseif quantity > available then'),
  neverElse('the cap', 'elseif per_buyer_limit > 0 and holds + quantity > per_buyer_limit then'),
  ['asking whether buyers are lost', " and redis.call('EXISTS', KEYS[3]) == 0\n", ' and false\n'],
  ['units that are reserved', 'and reserved + tonumber(', 'and tonumber('],
  ['units that are sold', "and reserved + tonumber(redis.call('HGET', KEYS[1], 'sold')) > 0", 'and reserved > 0'],
  ['what the batch gave the buyer', '(held[buyer] or tonumber(', '(tonumber('],
  ['the key', '(keyed[key_field] or known_orders[n])', 'keyed[key_field]'],
  ["the batch's own keys", '(keyed[key_field] or known_orders[n])', 'known_orders[n]'],
  ["the key's quantity", 'if tonumber(known_quantity) == quantity then', 'if true then'],
  neverElse('the backlog', 'elseif backlog_free <= 0 then'),
  ['the backlog of the batch', 'backlog_free = backlog_free - 1'],
  never('permits', 'if not word and permits == 0 then'),
  ['counting permits', 'permits = permits - 1'],
  never('tokens', 'if tokens < 1 then'),
  ['what the batch took from the bucket', 'tokens = buckets[buyer]\n', 'tokens = nil\n'],
  ['a full bucket', 'return math.min(capacity, refilled)', 'return refilled'],
  never('a clock that was set back', 'if is_set_back then'),
  ['writing the buckets', "redis.call('HSET', newer.key, unpack(fields))"],
  ['buckets that end', "redis.call('EXPIRE', newer.key, 2 * longest)"],
  never('the end of the sale', 'if now_ms >= ends_at then'),
  neverElse('the pause', 'elseif paused then'),
  neverElse('the beginning of the sale', 'elseif now_ms < starts_at then'),
  ['the outbox', "redis.call('HSET', KEYS[2], unpack(reservations))"],
  ['counting the orders', 'orders_before + #reservations / 2', 'orders_before'],
  ['writing the keys', 'write_fields(KEYS[4], keyed)'],
  ['writing what buyers hold', 'write_fields(KEYS[3], held)'],
);

const endings = [
  ...of(
    'commit',
    ...needsEpoch,
    ['counting a repeated id once', ' and not seen[order_id] then', ' then'],
    ['deleting the reservation', "redis.call('HDEL', KEYS[2], unpack(ended))"],
    ['deleting the claims', "redis.call('HDEL', KEYS[3], unpack(ended))"],
    ['asking for both', "redis.call('EXISTS', KEYS[3], KEYS[4]) > 0", "redis.call('EXISTS', KEYS[3]) > 0"],
    ['counting the orders', "redis.call('HINCRBY', KEYS[1], 'orders', -#ended)"],
    ['deleting the redeliveries', "redis.call('HDEL', KEYS[4], unpack(ended))"],
    ['units sold', "redis.call('HINCRBY', KEYS[1], 'sold', units)"],
  ),
  ...of(
    'release',
    ...needsEpoch,
    ['deleting the reservation', "redis.call('HDEL', KEYS[2], order_id)"],
    ['returning what the buyer held', "redis.call('HINCRBY', KEYS[5], buyer, -quantity) <= 0", 'false'],
    ['deleting the claim', "redis.call('HDEL', KEYS[3], order_id)"],
    ['counting the orders', "redis.call('HINCRBY', KEYS[1], 'orders', -1)"],
    ['deleting the redeliveries', "redis.call('HDEL', KEYS[4], order_id)"],
    ['returning the units', "redis.call('HINCRBY', KEYS[1], 'available', quantity)"],
  ),
  ...of(
    'readmit',
    ...needsEpoch,
    never('asking whether it is there', "if redis.call('HEXISTS', KEYS[2], order_id) == 1 then"),
    neverElse('asking whether it has ended', "elseif redis.call('SISMEMBER', KEYS[5], order_id) == 1 then"),
    ['storing that it is known', "word = 'known'\n    redis.call('SADD', KEYS[5], order_id)", "word = 'known'"],
    [
      'storing that it was readmitted',
      "redis.call('SADD', KEYS[5], order_id)\n    if per_buyer_limit > 0 then",
      'if per_buyer_limit > 0 then',
    ],
    neverElse('the key', "elseif keyed and string.match(keyed, '^(%S+) ') ~= order_id then"),
    ['the order of the key itself', " and string.match(keyed, '^(%S+) ') ~= order_id then", ' then'],
    neverElse('the cap', 'elseif per_buyer_limit > 0 and holds + quantity > per_buyer_limit then'),
    neverElse('enough units', 'elseif quantity > available then'),
    ['asking whether buyers are lost', "and redis.call('EXISTS', KEYS[3]) == 0", 'and false'],
    ['what the batch took', 'available = available - quantity'],
    ['counting the orders', "redis.call('HINCRBY', KEYS[1], 'orders', 1)"],
    ['writing what the buyer holds', "redis.call('HSET', KEYS[3], buyer, holds + quantity)"],
    ['writing the key', "redis.call('HSET', KEYS[4], key_field, order_id .. ' ' .. quantity)"],
  ),
  ...of('point-key', ...needsEpoch),
];

const care = [
  ...of(
    'claim-orphans',
    ...needsOpen(),
    ['restarting the age', "redis.call('HSET', KEYS[3], order_id, now_ms)"],
    ['the age', 'if since <= now_ms - age then', 'if true then'],
    ['what others have claimed', "anything_claimed and redis.call('HGET', KEYS[3], order_id) or "],
    ['a clock that was set back', 'if not since or since > now_ms then', 'if not since then'],
    ['the time of the next pass', 'or now_ms < next_pass and', 'or false and'],
    ['skipping a sale without orders', 'if orders == 0 or', 'if'],
    ['a next pass that is too far ahead', ' and next_pass <= now_ms + longest_pause'],
    ['who waits for longest', 'waiting_since = math.min(waiting_since, since)'],
    ['the shortest pause', 'math.max(waiting_since + age, now_ms + shortest_pause)', 'waiting_since + age'],
    ['the longest pause', 'math.min(earliest, now_ms + longest_pause)', 'earliest'],
  ),
  ...of(
    'count-redeliveries',
    ['asking whether it has ended', "if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 then", 'if true then'],
    ['adding', "redis.call('HINCRBY', KEYS[2], ARGV[i], 1)"],
    ['asking whether it was counted', "elseif redis.call('HEXISTS', KEYS[2], ARGV[i]) == 1 then", 'else'],
    ['resetting', "redis.call('HSET', KEYS[2], ARGV[i], 1)"],
  ),
  ...of(
    'adjust-stock',
    ...needsOpen(),
    ['deciding once', 'if not word then', 'if true then'],
    never('what was promised', 'if available + delta < 0 then'),
    ['storing the decision', "redis.call('HSET', KEYS[2], ARGV[1], word)"],
    ['the allotment', "redis.call('HINCRBY', KEYS[1], 'allotment', delta)"],
  ),
  ...of('configure-sale', ...needsOpen(), never('the version', 'if tonumber(ARGV[1]) <= tonumber(inventory[2]) then'), [
    'the same version',
    'if tonumber(ARGV[1]) <= tonumber(inventory[2]) then',
    'if tonumber(ARGV[1]) < tonumber(inventory[2]) then',
  ]),
  ...of('create-inventory', never('asking whether it exists', "if redis.call('EXISTS', KEYS[1]) == 1 then")),
  ...of('read-numbers', ...needsOpen('inventory[5]')),
];

const rebuilding = [
  ...of(
    'check-inventory',
    neverElse('this Redis instance', 'elseif inventory[1] ~= instance_id then'),
    neverElse('a closed inventory', "elseif inventory[1] == '' then"),
    neverElse('the epoch of the ledger', 'elseif epoch and epoch < ledger_epoch then'),
    neverElse('a ledger that was restored', 'elseif epoch and epoch > ledger_epoch then'),
    ['the epoch', 'return { word, epoch or 0 }', 'return { word, 0 }'],
    ['orders that are lost', " or redis.call('HLEN', KEYS[2]) ~= orders"],
    ['buyers that are lost', "redis.call('EXISTS', KEYS[3]) == 0", 'false'],
  ),
  ...of(
    'close-inventory',
    ['a higher epoch', 'if own_epoch < epoch or', 'if'],
    ['an inventory that is open in this epoch', " or own_epoch == epoch and inventory[1] ~= ''"],
    ['closing', "'instance_id', '',", "'instance_id', inventory[1] or '',"],
    ['deleting the claims', "redis.call('UNLINK', KEYS[2], ", "redis.call('UNLINK', "],
    ['deleting the redeliveries', 'KEYS[2], KEYS[3], ', 'KEYS[2], '],
    ['deleting what buyers hold', 'KEYS[3], KEYS[4], ', 'KEYS[3], '],
    ['deleting the keys', 'KEYS[4], KEYS[5], ', 'KEYS[4], '],
    ['forgetting the earlier orders', ', KEYS[6])', ')'],
  ),
  ...of(
    'rebuild-write',
    ['the epoch of the rebuilder', "inventory[1] ~= ARGV[1] or inventory[2] ~= ''", "inventory[2] ~= ''"],
    ['a closed inventory', "inventory[1] ~= ARGV[1] or inventory[2] ~= ''", 'inventory[1] ~= ARGV[1]'],
    ['writing', 'redis.call(ARGV[2], KEYS[2], unpack(ARGV, 3))'],
  ),
  ...of(
    'reopen-inventory',
    ['the epoch of the rebuilder', "inventory[1] ~= ARGV[1] or inventory[2] ~= ''", "inventory[2] ~= ''"],
    ['the Redis instance of the close', ' or inventory[3] ~= instance_id'],
    ['the reservations that were counted', " or redis.call('HLEN', KEYS[2]) ~= orders", ''],
    ['counting the orders', "'orders', orders,", "'orders', 0,"],
    [
      'deleting the instance of the close',
      "redis.call('HDEL', KEYS[1], 'closed_in', 'next_pass')",
      "redis.call('HDEL', KEYS[1], 'next_pass')",
    ],
    ['looking for orphans at once', "'closed_in', 'next_pass')", "'closed_in')"],
    ['opening in this instance', "'instance_id', instance_id)", "'instance_id', inventory[2])"],
    ['deleting what was counted meanwhile', "redis.call('UNLINK', KEYS[3])"],
  ),
];

export const inventoryMutations: readonly Mutation[] = [...includes, ...reserve, ...endings, ...care, ...rebuilding];

export const windowMutations: readonly Mutation[] = [
  ...of(
    'take-permits',
    ['the limit', 'local granted = math.min(wanted, free)', 'local granted = wanted'],
    ['a slot of which a part is in the window', 'at < slot - slots or', 'at <= slot - slots or'],
    ['the end of a slot', 'at < slot - slots or ', ''],
    ['a clock that was set back by a moment', 'at > slot + slots then', 'at > slot then'],
    ['a clock that was set back further', ' or at > slot + slots then', ' then'],
    ['the slot that ends first', 'math.min(oldest, at)', 'oldest'],
    ['the time to live', "redis.call('EXPIRE', KEYS[1], ARGV[3])"],
  ),
  ...of(
    'return-permits',
    ['the slot', "redis.call('HINCRBY', KEYS[1], ARGV[1], -unused)"],
    ['a slot that is gone', 'if taken > unused then', 'if taken > unused or taken == 0 then'],
    ['the bound of the slot', 'if taken > unused then', 'if taken > 0 then'],
  ),
];
