/**
 * Guards of the scripts, each with the text that takes it away: what inventory-model-mutations.test.ts breaks, one at a time. A line of a script
 * that is changed so that its text here is no longer found fails the test, and wants its mutation written anew.
 */

export interface Mutation {
  readonly script: string;
  /** What is broken. */
  readonly without: string;
  /** Stands once in the script. */
  readonly text: string;
  readonly becomes: string;
}

const of = (script: string, ...lines: (readonly [without: string, text: string, becomes: string])[]): Mutation[] =>
  lines.map(([without, text, becomes]) => ({ script, without, text, becomes }));

/** Each half of Redis' life: of a closed inventory there is none, so that such an inventory stays closed. */
const half = (found: string, part: string): string =>
  `string.match(${found} or '', '${part}') ~= string.match(life, '${part}')`;

/** Taken away: the process of Redis, or the data that it has. @param found what the inventory was opened in */
const lives = (script: string, found: string): Mutation[] =>
  of(
    script,
    ['the process of Redis', `${found} ~= life`, `${half(found, ' %x+$')}`],
    ['the data of Redis', `${found} ~= life`, `${half(found, '^%x+ ')}`],
  );

/** Of scripts that write only for whoever speaks for the inventory's epoch, in its life. */
const ofEpoch = (script: string): Mutation[] => [
  ...of(script, ['the epoch of the caller', ' or inventory[2] ~= ARGV[1]', '']),
  ...lives(script, 'inventory[1]'),
];

/** Of the rebuilder's scripts. */
const ofRebuilder = (script: string): Mutation[] =>
  of(
    script,
    ['the epoch of the rebuilder', "inventory[1] ~= ARGV[1] or inventory[2] ~= ''", "inventory[2] ~= ''"],
    [
      'asking whether the inventory is closed',
      "inventory[1] ~= ARGV[1] or inventory[2] ~= ''",
      'inventory[1] ~= ARGV[1]',
    ],
  );

/** Of scripts that want the inventory open, in any epoch. */
const ofLife = (script: string): Mutation[] => [
  ...lives(script, 'inventory[1]'),
  ...of(script, [
    'asking whether the inventory is open',
    'inventory[1] ~= life',
    "inventory[1] and inventory[1] ~= '' and inventory[1] ~= life",
  ]),
];

const reserve = of(
  'reserve',
  ['sold out', 'elseif available == 0 then', 'elseif false then'],
  ['enough units', 'elseif quantity > available then', 'elseif false then'],
  ['the cap', 'if per_buyer_limit > 0 and holds + quantity > per_buyer_limit then', 'if false then'],
  ['what the batch gave the buyer', 'holds = held[buyer] or tonumber(', 'holds = tonumber('],
  ['the key', '(keyed[key_field] or known_orders[key_field])', 'keyed[key_field]'],
  ["the batch's own keys", '(keyed[key_field] or known_orders[key_field])', 'known_orders[key_field]'],
  ["the key's quantity", 'if tonumber(known_quantity) == quantity then', 'if true then'],
  ['the backlog', 'elseif backlog_free <= 0 then', 'elseif false then'],
  ['the backlog of the batch', 'backlog_free = backlog_free - 1', ''],
  ['permits', 'if not word and permits == 0 then', 'if false then'],
  ['counting permits', 'permits = permits - 1', ''],
  ['tokens', 'if tokens < 1 then', 'if false then'],
  ['what the batch took from the bucket', 'tokens = buckets[buyer]', 'tokens = nil'],
  ['a full bucket', 'tokens = math.min(capacity, tonumber(left)', 'tokens = math.max(0, tonumber(left)'],
  ['a clock that was set back', 'if tonumber(at_us) > now_us then', 'if false then'],
  ['writing the buckets', "redis.call('HSET', newer.key, unpack(row))", ''],
  ['buckets that end', "redis.call('EXPIRE', newer.key, string.format('%.0f', 2 * longest))", ''],
  ['the end of the sale', 'if now_ms >= ends_at then', 'if false then'],
  ['the pause', 'elseif paused then', 'elseif false then'],
  ['the beginning of the sale', 'elseif now_ms < starts_at then', 'elseif false then'],
  ['the outbox', "redis.call('HSET', KEYS[2], unpack(new_reservations))", ''],
  ['counting the orders', 'orders_before + #new_reservations / 2', 'orders_before'],
  ['writing the keys', "redis.call('HSET', KEYS[4], in_a_row(keyed))", ''],
  ['writing what buyers hold', "redis.call('HSET', KEYS[3], in_a_row(held))", ''],
);
const reserveLives = lives('reserve', 'inventory[7]');

const endings = [
  ...ofEpoch('commit'),
  ...of(
    'commit',
    ['counting a repeated id once', ' and not seen[order_id] then', ' then'],
    ['ending the reservation', "redis.call('HDEL', KEYS[2], unpack(ended))", ''],
    ['forgetting the claims', "redis.call('HDEL', KEYS[3], unpack(ended))", ''],
    ['asking for each of both', "redis.call('EXISTS', KEYS[3], KEYS[4]) > 0", "redis.call('EXISTS', KEYS[3]) > 0"],
    ['counting the orders', "redis.call('HINCRBY', KEYS[1], 'orders', -#ended)", ''],
    ['forgetting the redeliveries', "redis.call('HDEL', KEYS[4], unpack(ended))", ''],
    ['units sold', "redis.call('HINCRBY', KEYS[1], 'sold', units)", ''],
  ),
  ...ofEpoch('release'),
  ...of(
    'release',
    ['ending the reservation', "redis.call('HDEL', KEYS[2], order_id)", ''],
    ['giving back what the buyer held', "redis.call('HINCRBY', KEYS[5], buyer, -quantity) <= 0", 'false'],
    ['forgetting the claim', "redis.call('HDEL', KEYS[3], order_id)", ''],
    ['counting the orders', "redis.call('HINCRBY', KEYS[1], 'orders', -1)", ''],
    ['forgetting the redeliveries', "redis.call('HDEL', KEYS[4], order_id)", ''],
    ['units given back', "redis.call('HINCRBY', KEYS[1], 'available', quantity)", ''],
  ),
  ...ofEpoch('readmit'),
  ...of(
    'readmit',
    ['asking whether it is there', "if redis.call('HEXISTS', KEYS[2], order_id) == 1 then", 'if false then'],
    ['asking whether it has ended', "elseif redis.call('SISMEMBER', KEYS[5], order_id) == 1 then", 'elseif false then'],
    ['remembering that it is known', "word = 'known'\n    redis.call('SADD', KEYS[5], order_id)", "word = 'known'"],
    [
      'remembering that it was readmitted',
      "redis.call('SADD', KEYS[5], order_id)\n    if per_buyer_limit > 0 then",
      'if per_buyer_limit > 0 then',
    ],
    ['the key', "elseif keyed and string.match(keyed, '^(%S+) ') ~= order_id then", 'elseif false then'],
    ['the order of the key itself', " and string.match(keyed, '^(%S+) ') ~= order_id then", ' then'],
    ['the cap', 'elseif per_buyer_limit > 0 and holds + quantity > per_buyer_limit then', 'elseif false then'],
    ['enough units', 'elseif quantity > available then', 'elseif false then'],
    ['what the batch took', 'available = available - quantity', ''],
    ['counting the orders', "redis.call('HINCRBY', KEYS[1], 'orders', 1)", ''],
    ['writing what the buyer holds', "redis.call('HSET', KEYS[3], buyer, holds + quantity)", ''],
    ['writing the key', "redis.call('HSET', KEYS[4], key_field, order_id .. ' ' .. quantity)", ''],
  ),
  ...ofEpoch('point-key'),
];

const care = [
  ...ofLife('claim-orphans'),
  ...of(
    'claim-orphans',
    ['a new clock', "redis.call('HSET', KEYS[3], order_id, string.format('%.0f', now_ms))", ''],
    ['the age', 'if since <= now_ms - age then', 'if true then'],
    ['what others have claimed', "anything_claimed and redis.call('HGET', KEYS[3], order_id)\n    or ", ''],
    ['a clock that was set back', 'if not since or since > now_ms then', 'if not since then'],
    ['the time of the next pass', 'or now_ms < next_pass and', 'or false and'],
    ['leaving a sale alone that has no orders', 'if orders == 0 or', 'if'],
    ['a next pass that is too far ahead', ' and next_pass <= now_ms + longest_pause', ''],
    ['who waits for longest', 'waiting_since = math.min(waiting_since, since)', ''],
    ['the shortest pause', 'math.max(waiting_since + age, now_ms + shortest_pause)', 'waiting_since + age'],
    ['the longest pause', ', now_ms + longest_pause))', ', 9e12))'],
  ),
  ...of('count-redeliveries', ['asking whether it has ended', "redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1", 'true']),
  ...of(
    'lower-redeliveries',
    ['asking whether it has ended', "redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 and ", ''],
    ['asking whether it was counted', " and redis.call('HEXISTS', KEYS[2], ARGV[i]) == 1", ''],
  ),
  ...ofLife('adjust-stock'),
  ...of(
    'adjust-stock',
    ['deciding once', 'if decided then', 'if false then'],
    ['what was promised', 'if available + delta < 0 then', 'if false then'],
    ['remembering a refusal', "redis.call('HSET', KEYS[2], ARGV[1], 'refused')", ''],
    ['remembering that it was done', "redis.call('HSET', KEYS[2], ARGV[1], 'applied')", ''],
    ['the allotment', "redis.call('HINCRBY', KEYS[1], 'allotment', delta)", ''],
  ),
  ...ofLife('configure-sale'),
  ...of('configure-sale', ['the version', 'if tonumber(ARGV[1]) <= tonumber(inventory[2]) then', 'if false then']),
  ...of('configure-sale', [
    'the same version',
    'if tonumber(ARGV[1]) <= tonumber(inventory[2]) then',
    'if tonumber(ARGV[1]) < tonumber(inventory[2]) then',
  ]),
  ...of('open-sale', ['asking whether it exists', "if redis.call('EXISTS', KEYS[1]) == 1 then", 'if false then']),
  ...lives('read-sale', 'inventory[5]'),
  ...of('read-sale', [
    'asking whether the inventory is open',
    'inventory[5] ~= life',
    "inventory[5] ~= '' and inventory[5] ~= life",
  ]),
];

const rebuilding = [
  ...lives('check-inventory', 'inventory[1]'),
  ...of(
    'check-inventory',
    ['a closed inventory', "if inventory[1] == '' then", 'if false then'],
    ['the epoch of the ledger', 'if epoch and epoch < tonumber(ARGV[1]) then', 'if false then'],
    ['a ledger that was restored', 'if epoch and epoch > tonumber(ARGV[1]) then', 'if false then'],
    ['the epoch of a closed inventory', "return { 'closed', epoch or 0 }", "return { 'closed', 0 }"],
    ['orders that are lost', " or redis.call('HLEN', KEYS[2]) ~= orders", ''],
  ),
  ...of(
    'close-inventory',
    ['a higher epoch', 'if tonumber(ARGV[1]) < epoch then', 'if false then'],
    [
      'an inventory that is open in this epoch',
      "if tonumber(ARGV[1]) == epoch and redis.call('HGET', KEYS[1], 'instance_id') ~= '' then",
      'if false then',
    ],
    ['closing', "'instance_id', '',", "'instance_id', redis.call('HGET', KEYS[1], 'instance_id') or '',"],
    ['clearing the claims', "redis.call('UNLINK', KEYS[2])", ''],
    ['clearing the redeliveries', "redis.call('UNLINK', KEYS[3])", ''],
    ['clearing what buyers hold', "redis.call('UNLINK', KEYS[4])", ''],
    ['clearing the keys', "redis.call('UNLINK', KEYS[5])", ''],
    ['forgetting what the inventory before had', "redis.call('UNLINK', KEYS[6])", ''],
  ),
  ...ofRebuilder('drop-fields'),
  ...of('drop-fields', ['dropping', "redis.call('HDEL', KEYS[2], unpack(ARGV, 2))", '']),
  ...ofRebuilder('restore-fields'),
  ...ofRebuilder('remember-orders'),
  ...of('remember-orders', ['remembering', "redis.call('SADD', KEYS[2], unpack(ARGV, 2))", '']),
  ...of(
    'open-inventory',
    ['the epoch of the rebuilder', "inventory[1] ~= ARGV[1] or inventory[2] ~= ''", "inventory[2] ~= ''"],
    ['the reservations that were counted', " or redis.call('HLEN', KEYS[2]) ~= orders", ''],
    ['counting the orders', "'orders', orders,", "'orders', 0,"],
    [
      'forgetting in which life it was closed',
      "redis.call('HDEL', KEYS[1], 'closed_in', 'next_pass')",
      "redis.call('HDEL', KEYS[1], 'next_pass')",
    ],
    ['looking for orphans at once', "'closed_in', 'next_pass')", "'closed_in')"],
    ['opening in this life', "'instance_id', life)", "'instance_id', inventory[2])"],
    ['clearing what was counted meanwhile', "redis.call('UNLINK', KEYS[3])", ''],
  ),
  ...lives('open-inventory', 'inventory[3]'),
];

export const inventoryMutations: readonly Mutation[] = [
  ...reserve,
  ...reserveLives,
  ...endings,
  ...care,
  ...rebuilding,
];

export const windowMutations: readonly Mutation[] = [
  ...of(
    'take-permits',
    ['the limit', 'local granted = math.min(wanted, free)', 'local granted = wanted'],
    ['the previous second', '- previous * (1 - fraction)', ''],
    ['the fading of the previous second', '- previous * (1 - fraction)', '- previous'],
    ['what has become the previous second', 'previous = tonumber(window[2])', ''],
    ['a clock that was set back by a moment', ' or age == -1 then', ' then'],
    ['a clock that was set back further', 'if age == 0 or age == -1 then', 'if age < 1 then'],
    ['the time to live', "redis.call('EXPIRE', KEYS[1], ARGV[3])", ''],
  ),
  ...of(
    'return-permits',
    ['the second', 'if age == 0 then', 'if age >= 0 then'],
    ['the second before', 'elseif age == 1 then', 'elseif false then'],
    ['the bound of the present second', 'math.max(0, tonumber(window[2]) - unused)', 'tonumber(window[2]) - unused'],
    ['the bound of the previous second', 'math.max(0, tonumber(window[3]) - unused)', 'tonumber(window[3]) - unused'],
  ),
];
