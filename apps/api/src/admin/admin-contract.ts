/** Schemas of the operators' routes. */

import { MAX_ALLOTMENT, MAX_CURRENT_SALES, MAX_QUANTITY } from '@flash-sale/core/config/limits.ts';
import { PRICE_PATTERN, SALE_ID_PATTERN, SALE_STATES, type SaleState } from '@flash-sale/core/domain/sale.ts';

import { Type } from '@sinclair/typebox';

import { AnyOrderSchema, DecimalSchema, PENDING } from '../orders/order-contract.ts';
import { bodyCodes, problemResponses } from '../plugins/problems.ts';
import { WARNINGS, type Warning } from './sale-values.ts';

/** In Unicode code points. */
const MAX_NAME_LENGTH = 200;
const MAX_DESCRIPTION_LENGTH = 4_000;
/** Bytes of a new sale whose code points are all written as a pair of escapes (\ud83d\ude00). */
export const SALE_BODY_LIMIT_BYTES = 12 * (MAX_NAME_LENGTH + MAX_DESCRIPTION_LENGTH) + 2_048;

/** No text that PostgreSQL cannot store, or stores as another one: NUL, half a surrogate pair. */
const STORABLE = '^[^\\u0000\\p{Cs}]*$';

const PriceSchema = Type.Union(
  [
    Type.String({ pattern: PRICE_PATTERN }),
    // A JSON number of at most 13 significant digits converts to decimal text without loss.
    Type.Number({ minimum: 0, exclusiveMaximum: 1_000_000_000 }),
  ],
  { description: 'Decimal string ("199.90") or number; a string is shown as it was sent.' },
);

const InstantSchema = Type.String({
  format: 'date-time',
  description: 'RFC 3339 with any offset, at most milliseconds, of the years 1970 to 9999 in UTC. Shown in UTC.',
});

const allowOf = <Allowed extends Warning>(...warnings: Allowed[]) =>
  Type.Optional(
    Type.Array(Type.Unsafe<Allowed>({ type: 'string', enum: warnings }), {
      description: 'Values that look like a mistake and are meant. Without it they are refused.',
    }),
  );

const StateSchema = Type.Unsafe<SaleState>({
  type: 'string',
  enum: SALE_STATES,
  description: 'By the clock of Redis.',
});

const AdminSaleSchema = Type.Object(
  {
    product_id: Type.String(),
    name: Type.String(),
    description: Type.Union([Type.String(), Type.Null()]),
    original_price: DecimalSchema,
    flash_sale_price: DecimalSchema,
    currency: Type.String(),
    per_buyer_limit: Type.Integer(),
    starts_at: InstantSchema,
    ends_at: InstantSchema,
    state: StateSchema,
    allotment: Type.Integer({ description: 'Units given to the sale, in the inventory.' }),
    available: Type.Integer({ description: 'Units that are free.' }),
    reserved: Type.Integer({ description: 'Units of orders that the ledger does not have yet.' }),
    sold: Type.Integer({ description: 'Units of confirmed orders, in the inventory.' }),
    ledger: Type.Object(
      { allotment: Type.Integer(), sold: Type.Integer() },
      {
        description:
          'The same numbers in the ledger, which is ahead of the inventory while outcomes are being applied.',
      },
    ),
    server_time: InstantSchema,
  },
  { description: 'The sale.' },
);

const common = { tags: ['admin'], security: [{ operator: [] }] };
const SaleParams = Type.Object({ product_id: Type.String() });
const failures = ['OPERATOR_REQUIRED', 'INVENTORY_UNAVAILABLE', 'LEDGER_UNAVAILABLE', 'SALE_RECOVERING'] as const;

export const ReadAnyOrderSchema = {
  ...common,
  summary: 'Read any order',
  params: Type.Object({ order_id: Type.String() }),
  response: {
    200: { ...AnyOrderSchema, headers: PENDING },
    ...problemResponses('ORDER_NOT_FOUND', ...failures),
  },
};

export const CreateSaleSchema = {
  ...common,
  summary: 'Create a sale',
  description: `At most ${MAX_CURRENT_SALES.toLocaleString('en')} sales that have not ended.`,
  body: Type.Object(
    {
      product_id: Type.String({
        pattern: SALE_ID_PATTERN,
        description: '`event` or `event.variant`. The sales of an event share a token bucket for each buyer.',
      }),
      name: Type.String({ minLength: 1, maxLength: MAX_NAME_LENGTH, pattern: STORABLE, description: 'Not blank.' }),
      description: Type.Optional(Type.String({ maxLength: MAX_DESCRIPTION_LENGTH, pattern: STORABLE })),
      original_price: PriceSchema,
      flash_sale_price: PriceSchema,
      currency: Type.String({ pattern: '^[A-Z]{3}$', description: 'ISO 4217.' }),
      units: Type.Integer({ minimum: 1, maximum: MAX_ALLOTMENT }),
      starts_at: InstantSchema,
      ends_at: InstantSchema,
      per_buyer_limit: Type.Optional(
        Type.Integer({
          minimum: 0,
          maximum: MAX_QUANTITY,
          description: 'Units that one buyer may hold. Default: 0 = no cap.',
        }),
      ),
      allow: allowOf(...WARNINGS),
    },
    { additionalProperties: false },
  ),
  response: { 201: AdminSaleSchema, ...problemResponses('SALE_EXISTS', 'TOO_MANY_SALES', ...bodyCodes, ...failures) },
};

export const ListAdminSalesSchema = {
  ...common,
  summary: 'The newest 200 sales, in every state',
  response: {
    200: Type.Object(
      {
        sales: Type.Array(
          Type.Object({
            product_id: Type.String(),
            name: Type.String(),
            state: StateSchema,
            starts_at: InstantSchema,
            ends_at: InstantSchema,
            allotment: Type.Integer({ description: 'In the ledger.' }),
            sold: Type.Integer({ description: 'In the ledger.' }),
          }),
        ),
        count: Type.Integer(),
      },
      { description: 'The sales.' },
    ),
    ...problemResponses('OPERATOR_REQUIRED', 'LEDGER_UNAVAILABLE'),
  },
};

export const ReadAdminSaleSchema = {
  ...common,
  summary: 'All numbers of a sale',
  params: SaleParams,
  response: { 200: AdminSaleSchema, ...problemResponses('SALE_NOT_FOUND', ...failures) },
};

const withoutBody = {
  ...ReadAdminSaleSchema,
  response: { 200: AdminSaleSchema, ...problemResponses('SALE_NOT_FOUND', ...bodyCodes, ...failures) },
};
export const PauseSaleSchema = { ...withoutBody, summary: 'Pause a sale: orders are refused until it resumes' };
export const ResumeSaleSchema = { ...withoutBody, summary: 'Resume a sale' };

export const ChangeWindowSchema = {
  ...common,
  summary: 'Change start and end',
  params: SaleParams,
  body: Type.Object(
    { starts_at: InstantSchema, ends_at: InstantSchema, allow: allowOf('window_over') },
    { additionalProperties: false },
  ),
  response: {
    200: AdminSaleSchema,
    ...problemResponses('SALE_NOT_FOUND', 'TOO_MANY_SALES', ...bodyCodes, ...failures),
  },
};

export const ChangeStockSchema = {
  ...common,
  summary: 'Add units, or withdraw free units',
  params: SaleParams,
  body: Type.Object(
    {
      delta: Type.Integer({
        minimum: -MAX_ALLOTMENT,
        maximum: MAX_ALLOTMENT,
        description: 'Units; negative withdraws.',
      }),
      change_id: Type.Optional(
        Type.String({
          pattern: '^[A-Za-z0-9_-]{1,64}$',
          description: 'Makes the change idempotent: the same id is applied once. Default: generated.',
        }),
      ),
      reason: Type.String({
        minLength: 1,
        maxLength: 500,
        pattern: STORABLE,
        description: 'Reason, stored with the change. Not blank.',
      }),
    },
    { additionalProperties: false },
  ),
  response: {
    200: AdminSaleSchema,
    ...problemResponses(
      'SALE_NOT_FOUND',
      'UNITS_PROMISED',
      'TOO_MANY_UNITS',
      'CHANGE_ID_TAKEN',
      'STOCK_CHANGE_PENDING',
      ...bodyCodes,
      ...failures,
    ),
  },
};
