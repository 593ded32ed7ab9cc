/** Schemas of the operators' routes. */
import { MAX_ALLOTMENT, MAX_QUANTITY } from '@flash-sale/core/config/limits.ts';
import { PRICE_PATTERN, SALE_ID_PATTERN } from '@flash-sale/core/domain/sale.ts';
import { Type } from '@sinclair/typebox';
import { OrderSchema } from '../orders/order-contract.ts';
import { problemResponses } from '../plugins/problems.ts';

const PriceSchema = Type.Union(
  [
    Type.String({ pattern: PRICE_PATTERN }),
    // A JSON number of at most 13 significant digits converts to decimal text without loss.
    Type.Number({ minimum: 0, exclusiveMaximum: 1_000_000_000 }),
  ],
  { description: 'Decimal string ("199.99") or number, up to 4 decimal places; stored without rounding.' },
);

const InstantSchema = Type.String({ format: 'date-time', description: 'ISO 8601 with a time zone.' });

const AdminSaleSchema = Type.Object({
  product_id: Type.String(),
  name: Type.String(),
  description: Type.Union([Type.String(), Type.Null()]),
  original_price: Type.String({ description: 'Decimal string.' }),
  flash_sale_price: Type.String({ description: 'Decimal string.' }),
  currency: Type.String(),
  per_buyer_limit: Type.Integer(),
  starts_at: InstantSchema,
  ends_at: InstantSchema,
  state: Type.String({ description: 'scheduled, active, paused or ended.' }),
  allotment: Type.Integer({ description: 'Units given to the sale, in the inventory.' }),
  available: Type.Integer({ description: 'Units that are free.' }),
  reserved: Type.Integer({ description: 'Units of orders that the ledger does not have yet.' }),
  sold: Type.Integer({ description: 'Units of confirmed orders, in the inventory.' }),
  ledger: Type.Object(
    { allotment: Type.Integer(), sold: Type.Integer() },
    {
      description: 'The same numbers in the ledger, which is ahead of the inventory while outcomes are being applied.',
    },
  ),
  server_time: InstantSchema,
});

const common = { tags: ['admin'], security: [{ operator: [] }] };
const SaleParams = Type.Object({ product_id: Type.String() });
const failures = [
  'OPERATOR_REQUIRED',
  'ADDRESS_RATE_LIMITED',
  'INVENTORY_UNAVAILABLE',
  'LEDGER_UNAVAILABLE',
  'SALE_RECOVERING',
] as const;

export const ReadAnyOrderSchema = {
  ...common,
  summary: 'Read any order',
  params: Type.Object({ order_id: Type.String() }),
  response: {
    200: Type.Object({ ...OrderSchema.properties, buyer_id: Type.String({ description: 'The buyer.' }) }),
    ...problemResponses('ORDER_NOT_FOUND', ...failures),
  },
};

export const CreateSaleSchema = {
  ...common,
  summary: 'Create a sale',
  body: Type.Object(
    {
      product_id: Type.String({
        pattern: SALE_ID_PATTERN,
        description: '`event` or `event.variant`. The sales of an event share a token bucket for each buyer.',
      }),
      name: Type.String({ minLength: 1, maxLength: 200, pattern: '^[^\\u0000]*$' }),
      description: Type.Optional(Type.String({ maxLength: 4_000, pattern: '^[^\\u0000]*$' })),
      original_price: PriceSchema,
      flash_sale_price: PriceSchema,
      currency: Type.Optional(Type.String({ pattern: '^[A-Z]{3}$', description: 'ISO 4217. Default: USD.' })),
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
    },
    { additionalProperties: false },
  ),
  response: { 201: AdminSaleSchema, ...problemResponses('INVALID_REQUEST', 'SALE_EXISTS', ...failures) },
};

export const ListAdminSalesSchema = {
  ...common,
  summary: 'The newest 200 sales, in every state',
  response: {
    200: Type.Object({
      sales: Type.Array(
        Type.Object({
          product_id: Type.String(),
          name: Type.String(),
          state: Type.String({ description: 'scheduled, active, paused or ended, by the clock of the API.' }),
          starts_at: InstantSchema,
          ends_at: InstantSchema,
          allotment: Type.Integer({ description: 'In the ledger.' }),
          sold: Type.Integer({ description: 'In the ledger.' }),
        }),
      ),
      count: Type.Integer(),
    }),
    ...problemResponses('OPERATOR_REQUIRED', 'ADDRESS_RATE_LIMITED', 'LEDGER_UNAVAILABLE'),
  },
};

export const ReadAdminSaleSchema = {
  ...common,
  summary: 'All numbers of a sale',
  params: SaleParams,
  response: { 200: AdminSaleSchema, ...problemResponses('SALE_NOT_FOUND', ...failures) },
};

export const PauseSaleSchema = { ...ReadAdminSaleSchema, summary: 'Pause a sale: orders are refused until it resumes' };
export const ResumeSaleSchema = { ...ReadAdminSaleSchema, summary: 'Resume a sale' };

export const ChangeWindowSchema = {
  ...common,
  summary: 'Change start and end',
  params: SaleParams,
  body: Type.Object({ starts_at: InstantSchema, ends_at: InstantSchema }, { additionalProperties: false }),
  response: { 200: AdminSaleSchema, ...problemResponses('INVALID_REQUEST', 'SALE_NOT_FOUND', ...failures) },
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
        pattern: '^[^\\u0000]*$',
        description: 'Reason, stored with the change.',
      }),
    },
    { additionalProperties: false },
  ),
  response: {
    200: AdminSaleSchema,
    ...problemResponses(
      'INVALID_REQUEST',
      'SALE_NOT_FOUND',
      'UNITS_PROMISED',
      'TOO_MANY_UNITS',
      'CHANGE_ID_TAKEN',
      'STOCK_CHANGE_PENDING',
      ...failures,
    ),
  },
};
